//! Says which package has made a file, for a person.
//!
//! `contents` counts the files of packages by dpkg's lists. A file that a package makes while it is
//! installed is in no list, so this also looks into the packages' scripts.

use crate::bundling::system::clean::PACKAGE_DATABASE;
use crate::bundling::tree::Tree;

/// Returns who made a file of the tree, as a part of a sentence.
pub(super) fn of(tree: &Tree, path: &str) -> String {
    let absolute = format!("/{path}");
    let has_line = |text: &str, wanted: &str| text.lines().any(|line| line == wanted);
    if let [package, ..] = &named(tree, &[".list"], |text| has_line(text, &absolute))[..] {
        return format!("package {package} has it");
    }
    let scripts = [".postinst", ".preinst", ".config"];
    if let [package, ..] = &named(tree, &scripts, |text| text.contains(&absolute))[..] {
        return format!("package {package} made it while it was installed");
    }
    if let Some((folder, _)) = absolute.rsplit_once('/')
        && let [package] = &named(tree, &[".list"], |text| has_line(text, folder))[..]
    {
        return format!("probably package {package} made it, whose folder {folder} is");
    }
    "no package has it, so an action of the recipe made it".to_owned()
}

/// Returns the packages whose files with one of the endings `has` is true for. The files are those
/// that dpkg keeps of each package.
fn named(tree: &Tree, endings: &[&str], has: impl Fn(&str) -> bool) -> Vec<String> {
    let info = format!("{PACKAGE_DATABASE}/info/");
    let package = |path: &str| {
        let name = path.strip_prefix(&info)?;
        let name = endings.iter().find_map(|ending| name.strip_suffix(ending))?;
        let text = tree.read(path).ok()?;
        let name = name.split_once(':').map_or(name, |(name, _)| name);
        has(&String::from_utf8_lossy(&text)).then(|| name.to_owned())
    };
    tree.below(info.trim_end_matches('/')).filter_map(package).collect()
}
