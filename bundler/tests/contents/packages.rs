//! The SPDX documents that `build` writes, judged by a public validator.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::small::{Bench, Entry, entries, status};

const RECIPE: &str = "
architecture: amd64
actions:
  - action: unpack
    file: root.tar
  - action: image-partition
    imagename: disk.img
    imagesize: 8MB
    partitiontype: gpt
    partitions: [{name: root, fs: ext4, start: 1MiB, end: 100%}]
    mountpoints: [{mountpoint: /, partition: root}]
  - action: filesystem-deploy
  - action: pack
    file: packed.tar.gz
  - action: pack
    file: srv.tar
    subdir: srv
    compression: none
  - action: pack
    file: gone.tar
    compression: none
  - action: run
    postprocess: true
    command: rm gone.tar
";

/// What a copyright file in the machine-readable form looks like.
const COPYRIGHT: &str = "\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: tools

Files: *
Copyright: 2001 Somebody
License: GPL-2+ with OpenSSL exception
 You may link it with OpenSSL.
 .
 And redistribute it.

Files: lib/*
Copyright: 2002 Somebody
License: GPL-2 or Expat, and ISC

Files: debian/*
Copyright: 2003 Somebody
License: Expat
";

fn with_licences() -> Vec<Entry> {
    let mut entries = entries();
    for (path, text, ..) in &mut entries {
        if *path == "var/lib/dpkg/status" {
            text.push_str(&status("libstdc++6", "1:14.2+x~1-2", "Origin: Us & them\n"));
            text.push_str(&status("tool-doc", "1.0-1", "Source: tools (1.0)\n"));
        }
    }
    let text = |text: &str| text.to_owned();
    let os = "NAME=\"Debian\"\nID=debian\nVERSION_CODENAME=trixie\n";
    entries.extend([
        ("usr/lib/os-release", text(os), 0o644, 0),
        ("usr/share/doc/tool/copyright", text(COPYRIGHT), 0o644, 0),
        ("usr/share/doc/tool-doc", text("-> tool"), 0o777, 0),
        ("usr/share/doc/libx/copyright", text("It is in the public domain.\n"), 0o644, 0),
    ]);
    entries
}

fn complaints(document: &Path) -> String {
    let output = Command::new(crate::validators::validator("pyspdxtools"))
        .arg("-i")
        .arg(document)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if output.status.success() { String::new() } else { format!("refused: {said}") }
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn build(bench: &Bench, epoch: &str) {
    fs::write(bench.path("r.yaml"), RECIPE).unwrap();
    let _ = fs::create_dir(bench.path("out"));
    bench.tar("out/root.tar", &with_licences());
    let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
        .args(["build", "r.yaml", "--artifactdir", "out", "-o", "whole.tar"])
        .current_dir(bench.path(""))
        .env("SOURCE_DATE_EPOCH", epoch)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_output_of_build_has_a_valid_list_of_its_packages() {
    let bench = Bench::new();
    build(&bench, "1700000000");
    let names: BTreeSet<String> = [bench.path(""), bench.path("out")]
        .iter()
        .flat_map(|dir| fs::read_dir(dir).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("spdx"))
        .collect();
    let wanted = ["disk.img", "packed.tar.gz", "srv.tar", "whole.tar"];
    let wanted = wanted.map(|name| format!("{name}.spdx.json"));
    assert_eq!(names, wanted.clone().into());
    let mut lists = Vec::new();
    for (name, output) in [
        ("out/disk.img", true),
        ("out/packed.tar.gz", true),
        ("out/srv.tar", false),
        ("whole.tar", true),
    ]
    .map(|(name, is_whole)| (name, (bench.path(name), is_whole)))
    {
        let (file, is_whole) = output;
        let path = bench.path(&format!("{name}.spdx.json"));
        assert_eq!(complaints(&path), "", "{name}");
        let mut document = read(&path);
        let packages = document["packages"].as_array_mut().unwrap();
        let own = packages.remove(0);
        let sum = Sha256::digest(fs::read(file).unwrap());
        let sum: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(own["checksums"], json!([{ "algorithm": "SHA256", "checksumValue": sum }]));
        assert_eq!(packages.len(), if is_whole { 4 } else { 0 }, "{name}");
        if is_whole {
            lists.push((packages.clone(), document["hasExtractedLicensingInfos"].clone()));
        }
    }
    assert!(lists.iter().all(|list| *list == lists[0]), "one system has several lists");

    let (packages, texts) = &lists[0];
    let of = |name: &str| packages.iter().find(|package| package["name"] == name).unwrap();
    let reference = "LicenseRef-tools-GPL-2plus-with-OpenSSL-exception";
    let licence = format!("((GPL-2.0-only OR MIT) AND ISC) AND {reference} AND MIT");
    assert_eq!(of("tool")["licenseDeclared"], licence);
    assert_eq!(of("tool")["versionInfo"], "1.0-1");
    assert_eq!(of("tool")["sourceInfo"], "built from the source package tools 1.0");
    assert_eq!(of("tool")["supplier"], "Person: A Maintainer (a@example.org)");
    assert_eq!(of("tool-doc")["licenseDeclared"], licence, "its folder is a link");
    assert_eq!(of("libx")["licenseDeclared"], "NOASSERTION");
    assert_eq!(of("libstdc++6")["supplier"], "Organization: Us & them");
    assert_eq!(
        of("libstdc++6")["externalRefs"][0]["referenceLocator"],
        "pkg:deb/debian/libstdc%2B%2B6@1%3A14.2%2Bx~1-2?arch=amd64&distro=trixie"
    );
    assert_eq!(
        texts,
        &json!([{
            "licenseId": reference,
            "name": "GPL-2+ with OpenSSL exception",
            "extractedText": "You may link it with OpenSSL.\n\nAnd redistribute it.",
        }])
    );
}

#[test]
fn the_same_input_gives_the_same_document_and_another_time_another_name_space() {
    let (one, two) = (Bench::new(), Bench::new());
    build(&one, "1700000000");
    build(&two, "1700000000");
    for name in ["out/disk.img", "out/packed.tar.gz", "out/srv.tar", "whole.tar"] {
        let name = format!("{name}.spdx.json");
        let bytes = |bench: &Bench| fs::read_to_string(bench.path(&name)).unwrap();
        assert_eq!(bytes(&one), bytes(&two), "{name}");
    }
    let before = read(&one.path("whole.tar.spdx.json"));
    build(&two, "1700000001");
    let now = read(&two.path("whole.tar.spdx.json"));
    assert_eq!(before["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    assert_eq!(now["creationInfo"]["created"], "2023-11-14T22:13:21Z");
    let space = |document: &Value| document["documentNamespace"].as_str().unwrap().to_owned();
    assert!(space(&now).starts_with("urn:uuid:") && space(&now) != space(&before));
}

#[test]
fn the_validator_refuses_a_document_that_is_wrong() {
    let bench = Bench::new();
    build(&bench, "1700000000");
    let path = bench.path("whole.tar.spdx.json");
    let text = fs::read_to_string(&path).unwrap();
    for (right, wrong) in [
        ("MIT) AND ISC", "MIT) AND Isk"),
        ("\"relatedSpdxElement\": \"SPDXRef-Package-tool\"", "\"relatedSpdxElement\": \"x\""),
        ("\"licenseId\": \"LicenseRef-tools", "\"licenseId\": \"tools"),
        ("urn:uuid:", ""),
    ] {
        assert!(text.contains(right), "{right}");
        fs::write(&path, text.replace(right, wrong)).unwrap();
        assert!(complaints(&path).starts_with("refused: "), "{wrong}");
    }
}
