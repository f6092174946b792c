//! `diff`: what is new in a system.

use serde_json::{Value, json};

use crate::small::{Bench, Entry, entries, status};

/// The entries after an update.
fn updated() -> Vec<Entry> {
    let list = [
        status("tool", "1.0-2", "Source: tools (1.0)\n"),
        status("fresh", "0.1", ""),
        status("libx", "2:3-4", ""),
    ];
    let mut entries = entries();
    entries.retain(|(path, ..)| *path != "usr/lib/modules/6.1-amd64/net.ko");
    for (path, text, mode, owner) in &mut entries {
        match *path {
            "usr/bin/tool" => text.push('!'),
            "etc/passwd" => *text = text.replace(":101:", ":103:"),
            "etc/group" => text.push_str("fresh:x:104:\n"),
            "srv/data" => (*mode, *owner) = (0o600, 103),
            "usr/lib/libx.so.3" => *text = text.replacen('x', "y", 1),
            "var/lib/dpkg/status" => *text = list.concat(),
            _ => {}
        }
    }
    let units = "etc/systemd/system";
    let name = |name: &str| -> &'static str { Box::leak(format!("{units}/{name}").into()) };
    entries.extend([
        (name("multi-user.target.wants/tool.service"), "-> /x/tool.service".into(), 0o777, 0),
        (name("old.service"), "-> /dev/null".into(), 0o777, 0),
        (name("display-manager.service"), "-> /x/gdm.service".into(), 0o777, 0),
    ]);
    entries
}

fn before() -> Vec<Entry> {
    let mut entries = entries();
    entries.push((
        "usr/lib/systemd/system/timers.target.wants/old.service",
        "-> ../old.service".to_owned(),
        0o777,
        0,
    ));
    entries
}

fn row(name: &str, old: impl Into<Value>, new: impl Into<Value>) -> Value {
    json!({ "name": name, "old": old.into(), "new": new.into() })
}

#[test]
fn packages_accounts_services_and_files_are_compared_whatever_the_form() {
    let bench = Bench::new();
    bench.tar("old.tar", &before());
    bench.bundle("old.daruma", &before());
    bench.tar("new.tar", &updated());
    bench.bundle("new.daruma", &updated());
    let diff = bench.json(&["diff", "old.tar", "new.tar", "--json"]);
    let nothing = Value::Null;
    assert_eq!(
        diff["packages"],
        json!([row("fresh", nothing.clone(), "0.1"), row("tool", "1.0-1", "1.0-2")])
    );
    assert_eq!(diff["users"], json!([row("tool", 101, 103)]));
    assert_eq!(diff["groups"], json!([row("fresh", nothing.clone(), 104)]));
    assert_eq!(
        diff["services"],
        json!([
            row("display-manager.service", nothing.clone(), "is gdm.service"),
            row("old.service", "enabled", "masked"),
            row("tool.service", nothing, "enabled"),
        ])
    );
    let file = |path: &str| {
        let files = diff["files"].as_array().unwrap();
        files.iter().find(|file| file["path"] == path).unwrap_or_else(|| panic!("{path}: {diff:#}"))
    };
    let data = file("/srv/data");
    assert_eq!((&data["what"], &data["package"]), (&json!(["mode", "owner"]), &Value::Null));
    assert_eq!((&data["old"]["mode"], &data["new"]["uid"]), (&json!("0640"), &json!(103)));
    let tool = file("/usr/bin/tool");
    assert_eq!((&tool["what"], &tool["package"]), (&json!(["content"]), &json!("tool")));
    assert_eq!((&tool["old"]["bytes"], &tool["new"]["bytes"]), (&json!(5000), &json!(5001)));
    // The content is compared, not only the size.
    assert_eq!(file("/usr/lib/libx.so.3")["what"], json!(["content"]));
    assert_eq!(file("/usr/lib/modules/6.1-amd64/net.ko")["new"], Value::Null);
    for (old, new) in [("old.daruma", "new.tar"), ("old.tar", "new.daruma")] {
        let other = bench.json(&["diff", old, new, "--json"]);
        assert_eq!(other["files"], diff["files"], "{old} {new}");
    }
}

#[test]
fn the_text_begins_with_a_summary_and_leaves_out_what_a_package_explains() {
    let bench = Bench::new();
    bench.tar("old.tar", &before());
    bench.tar("new.tar", &updated());
    let (code, out, _) = bench.run(&["diff", "old.tar", "new.tar"]);
    let (summary, rest) = out.split_once("\n\n").unwrap();
    assert_eq!(
        (code, summary),
        (
            0,
            "old.tar → new.tar\n\
             packages  1 added, 0 removed, 1 changed; 2 → 3\n\
             files     6 added (0 B), 7 removed (300 B), 6 changed; 206 kB → 206 kB\n\
             rights    1 with another mode or owner\n\
             accounts  1 added, 0 removed, 1 changed\n\
             services  2 added, 0 removed, 1 changed"
        )
    );
    for line in [
        "  + fresh 0.1",
        "  ~ tool 1.0-1 → 1.0-2",
        "  ~ user tool 101 → 103",
        "  + group fresh 104",
        "  ~ old.service enabled → masked",
        "  ~ /srv/data mode 0640 → 0600, owner 101:101 → 103:103",
        "  ~ /usr/lib/libx.so.3 other content",
        "  - /usr/lib/modules/6.1-amd64/net.ko 300 B",
        "  + /etc/systemd/system/old.service link to /dev/null",
        "1 more files belong to packages that changed; --all shows them",
    ] {
        assert!(rest.lines().any(|other| other == line), "no line {line:?} in\n{rest}");
    }
    let tool = "  ~ /usr/bin/tool ";
    assert!(!out.contains(tool), "{out}");
    let (_, out, _) = bench.run(&["diff", "--all", "old.tar", "new.tar"]);
    assert!(out.contains(tool) && !out.contains("more"), "{out}");
}

#[test]
fn equal_systems_differ_in_nothing_and_a_list_on_one_side_only_is_refused() {
    let bench = Bench::new();
    bench.tar("a.tar", &entries());
    bench.bundle("b.daruma", &entries());
    let (code, out, _) = bench.run(&["diff", "a.tar", "b.daruma"]);
    assert_eq!((code, out.as_str()), (0, "a.tar → b.daruma\nnothing differs\n"));
    let few: Vec<_> = entries().into_iter().filter(|entry| !entry.0.contains("dpkg")).collect();
    bench.tar("few.tar", &few);
    let (code, out, err) = bench.run(&["diff", "a.tar", "few.tar"]);
    assert_eq!((code, out.as_str()), (10, ""), "{err}");
    assert!(err.starts_with("daruma-bundler: few.tar has no list of packages"), "{err}");
    let (code, out, _) = bench.run(&["diff", "few.tar", "few.tar"]);
    assert_eq!((code, out.as_str()), (0, "few.tar → few.tar\nnothing differs\n"));
    // A reader that has seen enough is no error.
    let size = format!(
        "set -o pipefail; '{}' size --by=file --json a.tar | head -c 1",
        env!("CARGO_BIN_EXE_daruma-bundler")
    );
    let status = std::process::Command::new("bash")
        .args(["-c", &size])
        .current_dir(bench.path(""))
        .output()
        .unwrap();
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
}
