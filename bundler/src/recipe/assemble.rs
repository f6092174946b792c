//! Makes the actions of a recipe from its mappings.
//!
//! `load` has found the mappings in the files and merged them. `Keys` has refused unknown keys
//! before an action checks its own.

use std::path::Path;

use image_layout::Layout;

use crate::recipe::action::{Bootstrap, BundleSettings, KEYS, Kernel, Pattern, Run, Step};
use crate::recipe::error::RecipeError;
use crate::recipe::keys::Keys;
use crate::recipe::node::{Node, Place};
use crate::recipe::whole::Recipe;

pub(super) fn assemble(
    path: &Path,
    top: &Place,
    architecture: String,
    actions: Vec<(String, Node)>,
) -> Result<Recipe, RecipeError> {
    let mut bootstrap = None;
    let mut steps = Vec::new();
    let mut kernel = Kernel::default();
    let mut bundle = None;
    let mut layout = Layout::default();
    for (name, node) in actions {
        let known =
            KEYS.iter().find(|(action, _)| *action == name).map_or(&[][..], |(_, keys)| *keys);
        let mut keys = Keys::new(format!("the {name} action"), node, known)?;
        match name.as_str() {
            "mmdebstrap" => bootstrap = Some(read_bootstrap(&mut keys)?),
            "apt" => steps.push(read_apt(&mut keys)?),
            "overlay" => steps.push(read_overlay(&mut keys)?),
            "run" => steps.push(read_run(&mut keys)?),
            "kernel" => {
                let modules = read_patterns(&mut keys, "modules")?;
                kernel = Kernel { modules, btf: keys.flag("btf")?.unwrap_or(true) };
            }
            "bundle" => bundle = Some(read_bundle(&mut keys)?),
            "image" => layout = read_image(&mut keys)?,
            _ => {}
        }
    }
    Ok(Recipe {
        path: path.to_owned(),
        architecture,
        bootstrap: bootstrap.ok_or_else(|| top.error("the recipe needs an mmdebstrap action"))?,
        steps,
        kernel,
        bundle: bundle.ok_or_else(|| {
            top.error("the recipe needs a bundle action with the key `compatible`")
        })?,
        layout,
    })
}

fn read_bootstrap(keys: &mut Keys) -> Result<Bootstrap, RecipeError> {
    Ok(Bootstrap {
        suite: keys.required("suite")?.0,
        extra_suites: keys.texts("extra-suites")?.unwrap_or_default(),
        variant: keys.text("variant")?.unwrap_or_else(|| "minbase".to_owned()),
        components: keys.texts("components")?.unwrap_or_else(|| vec!["main".to_owned()]),
        mirrors: keys.texts("mirrors")?.unwrap_or_default(),
        include: keys.texts("include")?.unwrap_or_default(),
        aptopts: keys.texts("aptopts")?.unwrap_or_default(),
        dpkgopts: keys.texts("dpkgopts")?.unwrap_or_default(),
        keyring_files: keys
            .list("keyring-files")?
            .unwrap_or_default()
            .into_iter()
            .map(|(file, place)| place.resolve(&file))
            .collect(),
    })
}

fn read_apt(keys: &mut Keys) -> Result<Step, RecipeError> {
    let place = keys.place.clone();
    let packages = keys.texts("packages")?.unwrap_or_default();
    if packages.is_empty() {
        return Err(place.error("the apt action needs `packages`"));
    }
    let recommends = keys.flag("recommends")?.unwrap_or(false);
    if let Some(true) = keys.flag("unauthenticated")? {
        return Err(place.error(
            "`unauthenticated: true` is refused; name the archive's key in `keyring-files`",
        ));
    }
    Ok(Step::Apt { packages, recommends })
}

fn read_overlay(keys: &mut Keys) -> Result<Step, RecipeError> {
    let (source, place) = keys.required("source")?;
    let source = place.resolve(&source);
    if !source.is_dir() {
        return Err(place.error(format_args!("`source: {}` is not a folder", source.display())));
    }
    let destination = keys.text_at("destination")?;
    if let Some((path, place)) = &destination
        && (!path.starts_with('/') || path.contains(".."))
    {
        return Err(place.error("`destination` must be an absolute path"));
    }
    Ok(Step::Overlay {
        source,
        destination: destination.map_or_else(|| "/".to_owned(), |(path, _)| path),
    })
}

fn read_run(keys: &mut Keys) -> Result<Step, RecipeError> {
    let place = keys.place.clone();
    if let Some(true) = keys.flag("postprocess")? {
        return Err(place
            .error("`postprocess: true` is not supported; run the program after daruma-bundler"));
    }
    let chroot = keys.flag("chroot")?.unwrap_or(false);
    let run = match (keys.text("command")?, keys.text_at("script")?) {
        (Some(command), None) => Run::Command(command),
        (None, Some((script, at))) => {
            let mut words = script.split_ascii_whitespace();
            let file = at.resolve(words.next().unwrap_or_default());
            if !file.is_file() {
                return Err(at.error(format_args!("`script: {}` is not a file", file.display())));
            }
            Run::Script(file, words.map(str::to_owned).collect())
        }
        _ => return Err(place.error("the run action needs either `command` or `script`")),
    };
    Ok(Step::Run { chroot, run })
}

fn read_patterns(keys: &mut Keys, name: &'static str) -> Result<Option<Vec<Pattern>>, RecipeError> {
    let list = keys.list(name)?;
    Ok(list.map(|list| list.into_iter().map(|(text, place)| Pattern { text, place }).collect()))
}

fn read_bundle(keys: &mut Keys) -> Result<BundleSettings, RecipeError> {
    let (compatible, place) = keys.required("compatible")?;
    let word = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if compatible.is_empty() || !compatible.chars().all(word) {
        return Err(place.error("`compatible` is one word of letters, digits, `-`, `_` and `.`"));
    }
    let min_version = match keys.text_at("min-version")? {
        None => semver::Version::new(0, 0, 0),
        Some((text, place)) => semver::Version::parse(&text).map_err(|e| {
            place.error(format_args!("`min-version: {text}` is not a version like 1.2.3: {e}"))
        })?,
    };
    let args = keys.text_at("args")?;
    if let Some((args, place)) = &args
        && args.chars().any(|c| c.is_control() || "\"$\\'`".contains(c))
    {
        // GRUB reads slot.cfg, and quoting in GRUB is easy to get wrong.
        return Err(place.error("`args` cannot hold quotes, `$`, `\\` or line breaks"));
    }
    Ok(BundleSettings {
        compatible,
        description: keys.text("description")?.unwrap_or_default(),
        min_version,
        args: args.map(|(args, _)| args).unwrap_or_default(),
        docs: keys.flag("docs")?.unwrap_or(false),
        man: keys.flag("man")?.unwrap_or(false),
        locales: keys.texts("locales")?.unwrap_or_default(),
        drop: read_patterns(keys, "drop")?.unwrap_or_default(),
        health_units: read_units(keys)?,
    })
}

fn read_units(keys: &mut Keys) -> Result<Vec<String>, RecipeError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let units = keys.list("health-units")?.unwrap_or_default();
    let check = |(name, place): (String, Place)| {
        let kind = name.rsplit_once('.').filter(|(stem, _)| !stem.is_empty()).map(|parts| parts.1);
        let is_unit = matches!(kind, Some("service" | "socket" | "mount" | "timer"));
        if !is_unit || !name.chars().all(allowed) {
            return Err(place.error(format_args!(
                "`health-units` has `{name}`, which is not the name of a .service, .socket, \
                    .mount or .timer"
            )));
        }
        Ok(name)
    };
    units.into_iter().map(check).collect()
}

fn read_image(keys: &mut Keys) -> Result<Layout, RecipeError> {
    let place = keys.place.clone();
    let mut layout = Layout::default();
    let Layout { esp, boot, root, recovery, var } = &mut layout;
    for (name, size) in
        [("esp", esp), ("boot", boot), ("root", root), ("recovery", recovery), ("var", var)]
    {
        if let Some(bytes) = keys.size(name)? {
            *size = bytes;
        }
    }
    layout.validate().map_err(|e| place.error(format_args!("the image action: {e}")))?;
    Ok(layout)
}
