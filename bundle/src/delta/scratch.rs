//! Memory that is used again for every patch.
//!
//! A worker owns the vectors, and the steps of a patch fill them. A vector still holds its old
//! bytes.

/// Returns `len` bytes of `memory` for the caller to overwrite, whatever they hold. A vector that
/// is cut and lengthened again would be filled with zeros each time.
pub(super) fn room(memory: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if memory.len() < len {
        memory.resize(len, 0);
    }
    &mut memory[..len]
}
