//! An object of libsquashfs and who frees it.
//!
//! `writer` says in which order objects are freed: one that another keeps an address of lives
//! longer. libsquashfs counts no users of what this crate makes.

#![allow(unsafe_code, reason = "a C library frees its objects through a pointer in them")]

use std::io;

use crate::error::Error;
use crate::library::sqfs_object_t;

/// An object of libsquashfs, which is freed with its own function.
pub(crate) struct Object<T>(pub(crate) *mut T);

impl<T> Object<T> {
    /// Takes over `object`; null is the error of the call that made it.
    ///
    /// # Safety
    /// `object` is null, or an object of libsquashfs that begins with a `sqfs_object_t` and that
    /// nobody else frees.
    pub(crate) unsafe fn new(object: *mut T, what: &'static str) -> Result<Self, Error> {
        not_null(object, what)?;
        Ok(Self(object))
    }
}

impl<T> Drop for Object<T> {
    fn drop(&mut self) {
        let object: *mut sqfs_object_t = self.0.cast();
        // SAFETY: the caller of `new` has promised that the object begins with a `sqfs_object_t`
        // and is ours. It is used no more.
        unsafe {
            if let Some(destroy) = (*object).destroy {
                destroy(object);
            }
        }
    }
}

/// The error of a call that was to make `what` and has given no pointer.
pub(crate) fn not_null<T>(pointer: *mut T, what: &'static str) -> Result<(), Error> {
    if pointer.is_null() {
        return Err(Error::NoObject { what, why: io::Error::last_os_error() });
    }
    Ok(())
}
