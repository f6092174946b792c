//! The folders of a person: what somebody puts into them lies on /var.
//!
//! daruma-init covers each folder with an overlay. This file says where its changes lie, so that
//! daruma-init and a factory reset mean the same place.

/// The folders, as absolute paths of the running system.
pub const FOLDERS: [&str; 5] = ["/root", "/home", "/srv", "/opt", "/usr/local"];

/// Where their changes lie, relative to /var. Each has a folder with its name there, and in it
/// `upper`, the changed files, and `work`, which belongs to overlayfs.
pub const FOLDERS_ON_VAR: &str = "lib/daruma/folders";

/// Returns the name of a folder in one word, as systemd escapes it: `usr-local` of `/usr/local`.
#[must_use]
pub fn folder_name(folder: &str) -> String {
    folder.trim_start_matches('/').replace('/', "-")
}

/// Returns where the changes of `path` lie, relative to /var: `lib/daruma/folders/home/upper/ann`
/// of `/home/ann`. `None`: the path is in none of the folders.
#[must_use]
pub fn place_on_var(path: &str) -> Option<String> {
    let below = |folder: &&str| {
        let rest = path.strip_prefix(folder)?;
        let inside = rest.is_empty() || rest.starts_with('/');
        inside.then(|| format!("{FOLDERS_ON_VAR}/{}/upper{rest}", folder_name(folder)))
    };
    FOLDERS.iter().find_map(below)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_a_folder_has_its_place_and_others_have_none() {
        for (path, place) in [
            ("/home", Some("lib/daruma/folders/home/upper")),
            ("/usr/local/bin/x", Some("lib/daruma/folders/usr-local/upper/bin/x")),
            ("/homes", None),
            ("/usr", None),
            ("home/ann", None),
            ("/", None),
        ] {
            assert_eq!(place_on_var(path).as_deref(), place, "{path}");
        }
    }
}
