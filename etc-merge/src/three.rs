//! The rule of three for one value: whoever changed it wins, and the device wins if both did.
//!
//! `decide` applies it to the parts of an entry, and `accounts` to the fields of an account.

/// One value after a merge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Three<T> {
    pub(crate) value: T,
    /// Both sides changed it, in different ways.
    pub(crate) conflict: bool,
}

/// Merges one value. Without a base, two different values are a conflict.
pub(crate) fn three<T: PartialEq + Copy>(base: Option<T>, mine: T, theirs: T) -> Three<T> {
    let conflict = mine != theirs && base != Some(mine) && base != Some(theirs);
    let value = if base == Some(mine) { theirs } else { mine };
    Three { value, conflict }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_of_the_rule_holds() {
        for (base, mine, theirs, value, conflict) in [
            (Some(1), 1, 1, 1, false),
            (Some(1), 1, 2, 2, false),
            (Some(1), 2, 1, 2, false),
            (Some(1), 2, 2, 2, false),
            (Some(1), 2, 3, 2, true),
            (None, 2, 2, 2, false),
            (None, 2, 3, 2, true),
        ] {
            assert_eq!(three(base, mine, theirs), Three { value, conflict });
        }
    }
}
