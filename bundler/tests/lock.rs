//! Builds from a small archive on this host: no network, and packages that the test makes.
//!
//! `RECIPE.lock` must bring back exactly what was taken, and each lock that cannot be used must be
//! refused with one line. Each test runs the program as a user does.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

mod validators;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

/// What dpkg and maintainer scripts need in a root.
const PROGRAMS: &[&str] = &[
    "sh",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "cp",
    "diff",
    "dpkg",
    "dpkg-deb",
    "dpkg-query",
    "dpkg-split",
    "env",
    "grep",
    "id",
    "ls",
    "mkdir",
    "mv",
    "rm",
    "sed",
    "stat",
    "tar",
    "touch",
    "true",
];

/// Makes an account with the next free number, as adduser does.
const ADD: &str = "#!/bin/sh\nset -eu\nid=100\nwhile grep -q \"^[^:]*:x:$id:\" /etc/passwd \
                   /etc/group; do id=$((id + 1)); done\necho \"$1:x:$id:$id::/:\" \
                   >>/etc/passwd\necho \"$1:x:$id:\" >>/etc/group\n";

/// The script of a package that has an account and a file of it.
const ZEBRA: &str = "add zebra\nchown zebra:zebra /usr/share/zebra\nchmod 2755 /usr/share/zebra\n";

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn write(path: &Path, text: impl AsRef<[u8]>, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The one essential package: dpkg and its like from this host.
fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("base");
        let mut libraries = Vec::new();
        for program in PROGRAMS {
            let path = ["/usr/bin", "/bin"].map(|dir| Path::new(dir).join(program));
            let path = path.into_iter().find(|path| path.exists()).unwrap();
            let text = run(Command::new("ldd").arg(&path));
            let words = text.split_ascii_whitespace().filter(|word| word.starts_with('/'));
            libraries.extend(words.map(PathBuf::from));
            write(&root.join("usr/bin").join(program), fs::read(path).unwrap(), 0o755);
        }
        for file in libraries {
            // /lib and /usr/lib are one folder.
            let to = root.join("usr").join(file.strip_prefix("/").unwrap());
            let to = PathBuf::from(to.to_str().unwrap().replace("/usr/usr/", "/usr/"));
            write(&to, fs::read(file).unwrap(), 0o755);
        }
        for name in ["ldconfig", "start-stop-daemon"] {
            write(&root.join("usr/sbin").join(name), "#!/bin/sh\n", 0o755);
        }
        write(&root.join("usr/sbin/add"), ADD, 0o755);
        for name in ["bin", "sbin", "lib", "lib64"] {
            fs::create_dir_all(root.join("usr").join(name)).unwrap();
            std::os::unix::fs::symlink(format!("usr/{name}"), root.join(name)).unwrap();
        }
        for folder in ["proc", "sys", "dev", "run", "tmp", "root", "var/tmp"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        write(&root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n", 0o644);
        write(&root.join("etc/group"), "root:x:0:\n", 0o644);
        pack(&root, "Package: base\nVersion: 1\nArchitecture: amd64\nEssential: yes\n", "")
    })
}

/// Packs a folder as a package. `postinst` is the body of its script.
fn pack(root: &Path, control: &str, postinst: &str) -> Vec<u8> {
    let rest = "Maintainer: nobody <n@example.org>\nDescription: made by a test\n";
    write(&root.join("DEBIAN/control"), format!("{control}{rest}"), 0o644);
    if !postinst.is_empty() {
        write(&root.join("DEBIAN/postinst"), format!("#!/bin/sh\nset -e\n{postinst}"), 0o755);
    }
    let deb = root.with_extension("deb");
    run(Command::new("dpkg-deb")
        .args(["--root-owner-group", "-Zgzip", "-z1", "-b"])
        .args([root, &deb])
        .env("SOURCE_DATE_EPOCH", "1754697600"));
    fs::read(deb).unwrap()
}

/// An archive with one suite, and its web server.
struct Archive {
    dir: tempfile::TempDir,
    address: String,
    /// By file name.
    packages: BTreeMap<String, Vec<u8>>,
    on: &'static AtomicBool,
}

impl Archive {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let folder = dir.path().to_owned();
        let on: &AtomicBool = Box::leak(Box::new(AtomicBool::new(true)));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, folder) = (stream.unwrap(), folder.clone());
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or("/").to_owned();
                if !on.load(Ordering::SeqCst) {
                    continue;
                }
                let (status, body) = match fs::read(folder.join(path.trim_start_matches('/'))) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", Vec::new()),
                };
                let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n", body.len());
                let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes());
                let _ = stream.write_all(&body);
            }
        });
        let mut archive = Self { dir, address, packages: BTreeMap::new(), on };
        archive.packages.insert("base_1_amd64.deb".to_owned(), base().to_vec());
        archive
    }

    /// Puts a package into the archive, in the place of its older versions.
    fn add(&mut self, name: &str, version: &str, fields: &str, postinst: &str) {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join(name);
        write(&root.join("usr/share").join(name), version, 0o644);
        let control = format!("Package: {name}\nVersion: {version}\nArchitecture: all\n{fields}");
        let deb = pack(&root, &control, postinst);
        self.packages.retain(|file, _| !file.starts_with(&format!("{name}_")));
        self.packages.insert(format!("{name}_{version}_all.deb"), deb);
    }

    /// Writes index and files. What is not in the index any more is gone.
    fn publish(&self, date: &str) {
        let _ = fs::remove_dir_all(self.dir.path().join("pool"));
        let mut index = String::new();
        for (file, deb) in &self.packages {
            let path = self.dir.path().join("pool").join(file);
            write(&path, deb, 0o644);
            index.push_str(&run(Command::new("dpkg-deb").arg("-f").arg(&path)));
            let _ = writeln!(index, "Filename: pool/{file}\nSize: {}", deb.len());
            let _ = writeln!(index, "SHA256: {}\n", sum(deb));
        }
        let base = self.dir.path().join("dists/small");
        write(&base.join("main/binary-amd64/Packages"), &index, 0o644);
        let release = format!(
            "Suite: small\nCodename: small\nDate: {date}\nComponents: main\nArchitectures: \
             amd64\nSHA256:\n {} {} main/binary-amd64/Packages\n",
            sum(index.as_bytes()),
            index.len()
        );
        // Unsigned, but under this name: the bundler reads it for its cache.
        write(&base.join("Release"), &release, 0o644);
    }
}

fn sum(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// An archive of three packages in its first state, and a recipe that takes them.
struct Bench {
    dir: tempfile::TempDir,
    archive: Archive,
}

impl Bench {
    fn new() -> Self {
        let mut archive = Archive::new();
        archive.add("hello", "1.0", "Depends: helper\n", "");
        archive.add("helper", "1.0", "", "");
        archive.add("zebra", "1.0", "", ZEBRA);
        archive.publish("Sat, 01 Nov 2025 00:00:00 UTC");
        let bench = Self { dir: tempfile::tempdir().unwrap(), archive };
        bench.recipe("hello, zebra");
        bench
    }

    fn recipe(&self, packages: &str) {
        let text = format!(
            "architecture: amd64\nactions:\n  - action: mmdebstrap\n    suite: small\n    \
                variant: essential\n    mirrors: [\"deb [trusted=yes] {} small main\"]\n  \
             - action: apt\n    packages: [{packages}]\n",
            self.archive.address
        );
        write(&self.path("box.yaml"), text, 0o644);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundler(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"));
        command.current_dir(self.dir.path());
        command.env("XDG_CACHE_HOME", self.path("cache")).env_remove("DARUMA_CACHE");
        command
    }

    /// Builds to `out`. Returns the exit code and stderr.
    fn build(&self, out: &str, args: &[&str]) -> (i32, String) {
        let output = self.bundler().args(["build", "box.yaml", "-o", out]).args(args).output();
        let output = output.unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn built(&self, out: &str, args: &[&str]) -> String {
        let (code, text) = self.build(out, args);
        assert_eq!(code, 0, "{text}");
        text
    }

    fn lock(&self) -> String {
        fs::read_to_string(self.path("box.lock")).unwrap()
    }

    /// Two tars have the same bytes.
    fn same(&self, one: &str, two: &str) {
        if fs::read(self.path(one)).unwrap() != fs::read(self.path(two)).unwrap() {
            let list =
                |tar| run(Command::new("tar").args(["--full-time", "-tvf"]).arg(self.path(tar)));
            let (one, two) = (list(one), list(two));
            let other = one.lines().zip(two.lines()).find(|(one, two)| one != two);
            panic!("the tars differ: {other:?}");
        }
    }

    /// A file of a tar.
    fn file(&self, tar: &str, name: &str) -> String {
        run(Command::new("tar").arg("-xOf").arg(self.path(tar)).arg(format!("./{name}")))
    }

    /// The second state of the archive: newer packages, and one more account before `zebra`'s.
    fn upgrade(&mut self) {
        self.archive.add("hello", "2.0", "Depends: aardvark\n", "");
        self.archive.add("aardvark", "1.0", "", "add aardvark\n");
        self.archive.add("zebra", "1.1", "Depends: aardvark\n", ZEBRA);
        self.archive.publish("Sun, 01 Feb 2026 00:00:00 UTC");
    }
}

#[test]
fn a_locked_build_gives_the_same_bytes_after_the_archive_has_moved_on_and_is_gone() {
    let mut bench = Bench::new();
    let said = bench.built("one.tar", &["--lock"]);
    assert!(said.contains("box.lock: a new lock of 4 packages"), "{said}");
    let lock = bench.lock();
    for part in [
        "name = \"hello\"\nversion = \"1.0\"\narchitecture = \"all\"\nsuite = \"small\"",
        "date = \"Sat, 01 Nov 2025 00:00:00 UTC\"",
        "zebra = 100",
    ] {
        assert!(lock.contains(part), "{part}\n{lock}");
    }
    bench.upgrade();
    bench.built("new.tar", &[]);
    assert_eq!(bench.file("new.tar", "usr/share/hello"), "2.0");
    // Neither build has touched the lock.
    assert_eq!(bench.lock(), lock);
    bench.archive.on.store(false, Ordering::SeqCst);
    bench.built("two.tar", &["--locked"]);
    bench.same("one.tar", "two.tar");
}

#[test]
fn accounts_keep_the_numbers_of_the_lock() {
    let mut bench = Bench::new();
    bench.built("one.tar", &["--lock"]);
    bench.upgrade();
    // Without the lock the new account takes the number of zebra's.
    fs::rename(bench.path("box.lock"), bench.path("kept")).unwrap();
    bench.built("free.tar", &[]);
    assert!(bench.file("free.tar", "etc/passwd").contains("zebra:x:101:101:"));
    fs::rename(bench.path("kept"), bench.path("box.lock")).unwrap();
    let said = bench.built("two.tar", &["--lock"]);
    for line in [
        "+ aardvark 1.0",
        "  hello 1.0 -> 2.0",
        "- helper 1.0",
        "  zebra 1.0 -> 1.1",
        "+ user aardvark 101",
        "+ group aardvark 101",
        "  suite small Sat, 01 Nov 2025 00:00:00 UTC -> Sun, 01 Feb 2026 00:00:00 UTC",
        "box.lock: renewed, 4 packages",
    ] {
        assert!(said.lines().any(|said| said == line), "{line}\n{said}");
    }
    assert!(!said.contains("user zebra"), "{said}");
    let passwd = bench.file("two.tar", "etc/passwd");
    assert!(passwd.contains("zebra:x:100:100:") && passwd.contains("aardvark:x:101:101:"));
    // The files have moved with the account.
    let text =
        run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(bench.path("two.tar")));
    let zebra = text.lines().find(|line| line.ends_with("./usr/share/zebra")).unwrap();
    assert!(zebra.starts_with("-rwxr-sr-x 100/100 "), "{zebra}");
}

/// Refuses to build, with one line and exit code 31, and writes nothing.
fn refused(bench: &Bench, wanted: &[&str]) {
    let (code, text) = bench.build("no.tar", &["--locked", "--no-cache"]);
    assert_eq!(code, 31, "{text}");
    let line = text.lines().last().unwrap();
    for wanted in wanted {
        assert!(line.contains(wanted), "{wanted}: {line}");
    }
    let entries = fs::read_dir(bench.dir.path()).unwrap();
    let names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().contains("no.tar")), "{names:?}");
}

#[test]
fn a_lock_that_cannot_be_used_is_refused_with_what_to_do() {
    let bench = Bench::new();
    refused(&bench, &["box.lock: there is no lock; make it with `build --lock`"]);
    bench.built("one.tar", &["--lock"]);
    let good = bench.lock();
    let put = |text: &str| write(&bench.path("box.lock"), text, 0o644);
    // Cut off at every line: some of these are good TOML.
    let ends: Vec<_> = good.match_indices('\n').map(|(at, _)| at + 1).collect();
    for end in [ends[3], ends[ends.len() / 2], ends[ends.len() - 3], ends[ends.len() - 2]] {
        put(&good[..end]);
        refused(&bench, &["box.lock: the lock is torn", "version control"]);
    }
    put("format = 1\nrecipe = \"x\n\n[end]\n");
    refused(&bench, &["box.lock: the lock is torn"]);
    let sum = good.rsplit_once("sha256 = \"").unwrap().1.trim_end().trim_end_matches('"');
    put(&good.replace("version = \"1.0\"", "version = \"1.1\""));
    refused(&bench, &["box.lock: the lock was edited or damaged", "version control"]);
    put(&good.replace("format = 1", "format = 2").replace(sum, "of another kind"));
    refused(&bench, &["the lock has format 2", "formats up to 1", "use a newer daruma-bundler"]);
    // A lock that nobody can read stops plain builds too: the accounts stand in it.
    let (code, text) = bench.build("no.tar", &[]);
    assert!(code == 31 && text.contains("has format 2"), "{text}");
    put(&good);
    bench.recipe("hello, helper");
    let wanted = "the lock is not for this recipe: the recipe asks for helper too, and does not \
                  ask for zebra; run `build --lock`";
    refused(&bench, &[wanted]);
    fs::rename(bench.path("box.yaml"), bench.path("other.yaml")).unwrap();
    fs::copy(bench.path("box.lock"), bench.path("other.lock")).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
        .args(["build", "other.yaml", "-o", "no.tar", "--locked"])
        .current_dir(bench.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("other.lock: the lock (of box.yaml) is not for this recipe"), "{text}");
}

#[test]
fn a_package_that_is_gone_or_another_is_named_with_where_to_put_it() {
    let mut bench = Bench::new();
    bench.built("one.tar", &["--lock"]);
    let lock = bench.lock();
    let packages = bench.path("cache/daruma/build/packages");
    let shown = bench.bundler().arg("cache").output().unwrap();
    let shown = String::from_utf8(shown.stdout).unwrap();
    let count = fs::read_dir(&packages).unwrap().count();
    assert!(shown.contains(&format!(": {count} package files of locks, not trimmed")), "{shown}");
    let (hello, _) = lock.split_once("name = \"helper\"").unwrap();
    let (_, hello) = hello.rsplit_once("sha256 = \"").unwrap();
    let file = packages.join(format!("{}.deb", hello.split('"').next().unwrap()));
    let kept = fs::read(&file).unwrap();
    // The archive still has it.
    fs::write(&file, "damaged").unwrap();
    let said = bench.built("two.tar", &["--locked"]);
    assert!(said.contains(".deb is damaged; it is fetched again"), "{said}");
    bench.same("one.tar", "two.tar");
    fs::remove_file(&file).unwrap();
    bench.upgrade();
    let place = format!("put its file to {}, or run `build --lock`", file.display());
    let wanted = ["box.lock: the package hello 1.0 (all) is gone: ", "404", &place];
    refused(&bench, &wanted);
    // The same name with another content, as when somebody edits a hash and its sum.
    bench.archive.add("hello", "1.0", "Depends: helper, aardvark\n", "");
    bench.archive.publish("Mon, 02 Feb 2026 00:00:00 UTC");
    refused(&bench, &["hello_1.0_all.deb has the SHA-256 sum ", ", and not ", &place]);
    bench.archive.on.store(false, Ordering::SeqCst);
    refused(&bench, &["box.lock: the package hello 1.0 (all) is gone: ", &place]);
    fs::write(&file, kept).unwrap();
    bench.built("three.tar", &["--locked"]);
    bench.same("one.tar", "three.tar");
}

#[test]
fn a_recipe_without_packages_has_a_lock_too() {
    let bench = Bench::new();
    write(&bench.path("empty/etc/here"), "here", 0o644);
    run(Command::new("tar").args(["-cf", "root.tar", "-C", "empty", "."]).current_dir(&bench.dir));
    let text = "architecture: amd64\nactions:\n  - action: unpack\n    file: root.tar\n";
    write(&bench.path("box.yaml"), text, 0o644);
    let said = bench.built("one.tar", &["--lock"]);
    assert!(said.contains("box.lock: a new lock of 0 packages"), "{said}");
    bench.archive.on.store(false, Ordering::SeqCst);
    bench.built("two.tar", &["--locked"]);
    bench.same("one.tar", "two.tar");
}

/// What the SPDX document of an output says of a package.
fn listed(bench: &Bench, output: &str, package: &str) -> serde_json::Value {
    let text = fs::read(bench.path(&format!("{output}.spdx.json"))).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let packages = document["packages"].as_array().unwrap();
    packages.iter().find(|found| found["name"] == package).unwrap().clone()
}

#[test]
fn the_list_of_packages_has_the_sums_that_the_lock_knows() {
    let bench = Bench::new();
    bench.built("one.tar", &["--lock"]);
    bench.built("two.tar", &["--locked"]);
    bench.built("free.tar", &[]);
    let deb = &bench.archive.packages["hello_1.0_all.deb"];
    let sums = serde_json::json!([{ "algorithm": "SHA256", "checksumValue": sum(deb) }]);
    for output in ["one.tar", "two.tar"] {
        let hello = listed(&bench, output, "hello");
        assert_eq!(
            (&hello["checksums"], &hello["packageFileName"]),
            (&sums, &"hello_1.0_all.deb".into())
        );
        assert_eq!(listed(&bench, output, "base")["packageFileName"], "base_1_amd64.deb");
    }
    assert_eq!(listed(&bench, "free.tar", "hello")["checksums"], serde_json::Value::Null);
    let document = bench.path("two.tar.spdx.json");
    let output = Command::new(validators::validator("pyspdxtools"))
        .arg("-i")
        .arg(document)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn each_set_of_template_values_may_have_its_own_lock() {
    let mut bench = Bench::new();
    bench.recipe("{{ or .packages \"hello\" }}");
    let zebra = ["-t", "packages:zebra"];
    let with = |more: &[&'static str], lock: &'static str| [more, &[lock]].concat();
    bench.built("hello.tar", &["--lock=hello.lock"]);
    bench.built("zebra.tar", &with(&zebra, "--lock=zebra.lock"));
    assert!(!bench.path("box.lock").exists());
    bench.upgrade();
    bench.built("again.tar", &["--locked=hello.lock"]);
    bench.same("hello.tar", "again.tar");
    bench.built("again.tar", &with(&zebra, "--locked=zebra.lock"));
    bench.same("zebra.tar", "again.tar");
    let (code, text) = bench.build("no.tar", &with(&zebra, "--locked=hello.lock"));
    let wanted = "hello.lock: the lock is not for this recipe: the recipe asks for zebra too, and \
        does not ask for hello; run `build --lock` to renew it, or if other values of -t ask for \
        that, keep a lock for each set of values: `--lock=FILE` writes one and `--locked=FILE` \
        uses it";
    assert!(code == 31 && text.contains(wanted), "{code} {text}");
    let (code, text) = bench.build("no.tar", &["--locked=gone.lock"]);
    assert!(code == 31 && text.contains("gone.lock: there is no lock"), "{code} {text}");
}
