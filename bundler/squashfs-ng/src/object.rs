//! An object of libsquashfs that is freed when it is dropped.
//!
//! `writer` decides in which order objects are freed: if one object keeps the address of another,
//! the other lives longer. libsquashfs does not count the users of the objects that this crate
//! makes.

#![allow(unsafe_code, reason = "a C library frees its objects through a pointer in them")]

use std::io;

use crate::error::Error;
use crate::library::sqfs_object_t;

/// An object of libsquashfs. Dropping it calls the object's own function to free it.
pub(crate) struct Object<T>(pub(crate) *mut T);

impl<T> Object<T> {
    /// Takes over `object`. A null pointer becomes the error of the call that made it.
    ///
    /// # Safety
    /// `object` is null, or an object of libsquashfs that begins with a `sqfs_object_t`. Nobody
    /// else frees it.
    pub(crate) unsafe fn new(object: *mut T, what: &'static str) -> Result<Self, Error> {
        not_null(object, what)?;
        Ok(Self(object))
    }
}

impl<T> Drop for Object<T> {
    fn drop(&mut self) {
        let object: *mut sqfs_object_t = self.0.cast();
        // SAFETY: the caller of `new` has promised that the object begins with a `sqfs_object_t`
        // and that nobody else frees it. Nobody uses the object after this.
        unsafe {
            if let Some(destroy) = (*object).destroy {
                destroy(object);
            }
        }
    }
}

/// Returns an error if a call that should have made `what` returned a null pointer.
pub(crate) fn not_null<T>(pointer: *mut T, what: &'static str) -> Result<(), Error> {
    if pointer.is_null() {
        return Err(Error::NoObject { what, why: io::Error::last_os_error() });
    }
    Ok(())
}
