//! Whose signatures count on this device: the root document, or else the keyring.
//! Leaves to `bundle` how a signature is verified, and to `channel` how newer roots come.
//! Read: `root`, `kept`, `keys`.

pub(crate) mod kept;
pub(crate) mod keys;
pub(crate) mod root;
