//! The target for a registry's answers and for addresses in a registry.
//!
//! `lib` lists the target with its limits. Each input is read in every way.

use bundle::oci::{Artifact, ArtifactKind, Challenge, Reference, Tag, token};

use crate::is_one_line;

/// The input is a manifest, or a text: an address, a tag, a challenge or a token server's answer.
pub(crate) fn oci(input: &[u8]) {
    match Artifact::parse(input) {
        Ok(artifact) => {
            assert!((1..=artifact.kind.limit()).contains(&artifact.size));
            assert_eq!(
                Artifact::parse(&artifact.to_manifest("x")),
                Ok(artifact),
                "written back as it was read"
            );
        }
        Err(error) => is_one_line(&error.to_string()),
    }
    if let Some(token) = token(input) {
        assert!(token.bytes().all(|byte| byte.is_ascii_graphic()), "it stands in a header");
    }
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(reference) = text.parse::<Reference>() {
        assert!(!reference.to_string().contains('@'), "a login is not shown");
        assert!(reference.url("").bytes().all(|byte| byte.is_ascii_graphic()));
    }
    if let Ok(tag) = text.parse::<Tag>()
        && let Some(path) = tag.path()
    {
        assert_eq!(Tag::of_path(&path), Ok(tag), "one path, one tag");
        if ArtifactKind::of_path(&path).is_some() {
            assert!(
                !path.starts_with('/')
                    && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
            );
        }
    }
    if let Ok(tag) = Tag::of_path(text) {
        assert_eq!(tag.path().as_deref(), Some(text));
    }
    if let Some(url) =
        Challenge::parse(text).and_then(|challenge| challenge.token_url("repository:a:pull"))
    {
        assert!(url.contains("scope="));
    }
}
