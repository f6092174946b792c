//! Builds recipes whose root filesystem is unpacked, from programs of this host: no network.
//!
//! tests/tests/debos.rs builds Debian systems. Each test runs the program as a user does.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

const PROGRAMS: [&str; 9] = ["sh", "cat", "id", "ls", "mkdir", "readlink", "stat", "tar", "touch"];

/// A tar of a small root: some programs of this host with their libraries, and folders.
fn small_root() -> &'static Path {
    static ROOT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, tar) = ROOT.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        let mut files: Vec<PathBuf> = Vec::new();
        for program in PROGRAMS {
            let path = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
            let path = path.into_iter().find(|path| path.exists()).unwrap();
            let ldd = Command::new("ldd").arg(&path).output().unwrap();
            let text = String::from_utf8(ldd.stdout).unwrap();
            let words = text.split_ascii_whitespace().filter(|word| word.starts_with('/'));
            files.extend(words.map(PathBuf::from));
            let to = root.join("bin").join(program);
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(path, to).unwrap();
        }
        for file in files {
            let to = root.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, to).unwrap();
        }
        for folder in ["etc", "tmp", "root", "usr/bin", "proc", "sys", "dev", "run"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
        let tar = dir.path().join("root.tar.gz");
        let status = Command::new("tar")
            .args(["-c", "-z", "--owner=0", "--group=0", "-C"])
            .arg(&root)
            .arg("-f")
            .arg(&tar)
            .arg(".")
            .status();
        assert!(status.unwrap().success());
        (dir, tar)
    });
    tar
}

/// A folder with a recipe, and an artifact folder with the root's tar.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(actions: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        let head = "architecture: amd64\nactions:\n  - action: unpack\n    file: root.tar.gz\n";
        bench.write("r.yaml", &format!("{head}{actions}"));
        fs::create_dir(bench.path("out")).unwrap();
        fs::copy(small_root(), bench.path("out/root.tar.gz")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Builds. Returns the exit code and stderr.
    fn build(&self, args: &[&str]) -> (i32, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(["build", "r.yaml", "--artifactdir", "out"])
            .args(args)
            .env("DARUMA_CACHE", self.path("cache"))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    fn built(&self, args: &[&str]) -> String {
        let (code, text) = self.build(args);
        assert_eq!(code, 0, "{text}");
        text
    }

    /// The names of the artifacts without the root's tar.
    fn artifacts(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("out")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name != "root.tar.gz");
        names.sort();
        names
    }

    /// The entries of an artifact: owner, mode and content or target by name.
    fn tar(&self, name: &str, reader: impl FnOnce(fs::File) -> Vec<u8>) -> Entries {
        let bytes = reader(fs::File::open(self.path("out").join(name)).unwrap());
        let mut archive = tar::Archive::new(&*bytes);
        let mut entries = Entries::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let name = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            match entry.link_name().unwrap() {
                Some(target) => content = target.display().to_string(),
                None => drop(entry.read_to_string(&mut content)),
            }
            let header = entry.header();
            let owner = header.uid().unwrap();
            let mode = header.mode().unwrap() & 0o7777;
            let name = name.trim_end_matches('/').trim_start_matches("./").to_owned();
            entries.insert(name, (owner, mode, content));
        }
        entries
    }
}

type Entries = BTreeMap<String, (u64, u32, String)>;

fn plain(mut file: fs::File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn content<'a>(entries: &'a Entries, name: &str) -> &'a str {
    &entries.get(name).unwrap_or_else(|| panic!("no {name}: {:?}", entries.keys())).2
}

#[test]
fn scripts_see_what_debos_gives_them() {
    let bench = Bench::new(
        "  - action: run\n    command: |\n      test -f \"$RECIPEDIR/r.yaml\"\n      \
             test -d \"$ARTIFACTDIR\"\n      test -z \"${IMAGE-}${IMAGEMNTDIR-}\"\n      \
             echo host $COLOUR >\"$ROOTDIR/etc/host\"\n      echo here >\"$ARTIFACTDIR/note\"\n  \
           - action: run\n    chroot: true\n    script: scripts/s.sh one \"two words\"\n  \
           - action: run\n    chroot: true\n    command: |\n      \
             test -z \"${ROOTDIR-}${RECIPEDIR-}${ARTIFACTDIR-}\"\n      \
             test \"$HOME\" = /root\n      \
             test \"$(id -u)\" = 0\n      test ! -e /tmp/script\n      \
             echo $COLOUR >/etc/inside\n  \
           - action: pack\n    file: p.tar\n    compression: none\n  \
           - action: run\n    postprocess: true\n    command: |\n      \
             test -z \"${ROOTDIR-}\"\n      cat note >\"$ARTIFACTDIR/after\"\n      \
             test -f \"$RECIPEDIR/r.yaml\"\n",
    );
    bench.write(
        "scripts/s.sh",
        "#!/bin/sh\nset -eu\ntest $# = 2\necho \"$1,$2\" >/etc/script\n\
         cat /tmp/script/beside >>/etc/script\n",
    );
    let script = bench.path("scripts/s.sh");
    fs::set_permissions(script, fs::Permissions::from_mode(0o755)).unwrap();
    bench.write("scripts/beside", "beside\n");
    bench.built(&["-e", "COLOUR:blue"]);
    assert_eq!(bench.artifacts(), ["after", "note", "p.tar", "p.tar.spdx.json"]);
    let tar = bench.tar("p.tar", plain);
    assert_eq!(content(&tar, "etc/host"), "host blue\n");
    assert_eq!(content(&tar, "etc/inside"), "blue\n");
    assert_eq!(content(&tar, "etc/script"), "one,two words\nbeside\n");
    // Nothing of the host or of the build is left.
    for gone in ["tmp/script", "etc/hosts", "etc/resolv.conf", "etc/hostname", "dev/null"] {
        assert!(!tar.contains_key(gone), "{gone}");
    }
}

#[test]
fn a_failing_script_shows_its_last_lines_and_where_it_stands() {
    let bench = Bench::new(
        "  - action: run\n    chroot: true\n    description: The second\n    command: |\n      \
           echo first line\n      echo the reason >&2\n      echo $NEVER_SET\n  \
           - action: pack\n    file: p.tar\n",
    );
    let (code, text) = bench.build(&[]);
    assert_eq!(code, 24, "{text}");
    let line = text.lines().last().unwrap();
    let wanted = "r.yaml:5: the run action \"The second\" (2 of 3) ended with exit status 2: first \
        line | the reason | /bin/sh: 3: NEVER_SET: parameter not set";
    assert!(line.contains(wanted), "{line}");
    assert_eq!(bench.artifacts(), Vec::<String>::new());
    let bench =
        Bench::new("  - action: run\n    postprocess: true\n    command: echo no; exit 7\n");
    let (code, text) = bench.build(&[]);
    let wanted = "r.yaml:5: the run action (2 of 2) ended with exit status 7: no";
    assert!(code == 24 && text.lines().last().unwrap().contains(wanted), "{text}");
}

#[test]
fn overlays_keep_modes_and_links_and_belong_to_root() {
    let bench = Bench::new(
        "  - action: overlay\n    source: files\n  \
           - action: overlay\n    source: files/etc/conf\n    destination: opt/app/renamed\n  \
           - action: run\n    command: echo made >\"$ARTIFACTDIR/made\"\n  \
           - action: overlay\n    origin: artifacts\n    source: made\n    \
             destination: /etc/made\n  \
           - action: pack\n    file: p.tar.zst\n    compression: auto\n",
    );
    bench.write("files/etc/conf", "c\n");
    bench.write("files/etc/secret", "s\n");
    bench.write("files/root/.profile", "p\n");
    for (file, mode) in [("conf", 0o664), ("secret", 0o600)] {
        let path = bench.path("files/etc").join(file);
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }
    std::os::unix::fs::symlink("conf", bench.path("files/etc/link")).unwrap();
    bench.built(&[]);
    let tar = bench.tar("p.tar.zst", |file| zstd::decode_all(file).unwrap());
    assert_eq!(tar["etc/conf"], (0, 0o644, "c\n".to_owned()));
    assert_eq!(tar["etc/secret"].1, 0o600);
    assert_eq!(content(&tar, "etc/link"), "conf");
    assert_eq!(tar["opt/app/renamed"], (0, 0o644, "c\n".to_owned()));
    assert_eq!(tar["opt/app"].1, 0o755);
    assert_eq!(content(&tar, "etc/made"), "made\n");
    // A folder that is there keeps its mode.
    assert_eq!(tar["root"].1, 0o700);
}

#[test]
fn a_link_in_the_root_never_leads_to_the_host() {
    let bench = Bench::new(
        "  - action: run\n    command: ln -s \"$RECIPEDIR/out\" \"$ROOTDIR/trap\"\n  \
           - action: overlay\n    source: files\n    destination: /trap/sub\n",
    );
    bench.write("files/x", "x");
    let folder = bench.path("out");
    bench.built(&["-o", "root.tar"]);
    assert!(!folder.join("sub").exists());
}

#[test]
fn archives_are_packed_and_unpacked() {
    let bench = Bench::new(
        "  - action: run\n    chroot: true\n    command: mkdir /data; echo x >/data/x\n  \
           - action: pack\n    file: sub/d.tar.xz\n    compression: xz\n    subdir: data\n  \
           - action: unpack\n    file: sub/d.tar.xz\n    destdir: /copy\n  \
           - action: unpack\n    origin: recipe\n    file: p.deb\n    destdir: deb\n  \
           - action: pack\n    file: p.tar\n    compression: none\n  \
           - action: pack\n    file: named.tar.xz\n",
    );
    bench.write("pkg/DEBIAN/control", "Package: p\nVersion: 1\nArchitecture: all\n");
    bench.write("pkg/etc/in-deb", "d");
    let mut deb = Command::new("dpkg-deb");
    let deb = deb.args(["-b", "pkg", "p.deb"]).current_dir(bench.dir.path()).output().unwrap();
    assert!(deb.status.success(), "{deb:?}");
    let text = bench.built(&[]);
    let tar = bench.tar("p.tar", plain);
    assert_eq!(content(&tar, "copy/x"), "x\n");
    assert_eq!(content(&tar, "deb/etc/in-deb"), "d");
    // Without `compression` the content is gz, whatever the name says.
    let bytes = fs::read(bench.path("out/named.tar.xz")).unwrap();
    assert_eq!(bytes[..2], [0x1f, 0x8b]);
    assert!(text.contains("r.yaml:23: named.tar.xz will be gz"), "{text}");
    let xz = fs::read(bench.path("out/sub/d.tar.xz")).unwrap();
    assert_eq!(xz[1..5], *b"7zXZ");
}

#[test]
fn two_builds_pack_the_same_bytes() {
    let actions = "  - action: run\n    chroot: true\n    command: echo x >/etc/x\n  \
                     - action: pack\n    file: p.tar.gz\n";
    let packed = || {
        let bench = Bench::new(actions);
        bench.built(&[]);
        fs::read(bench.path("out/p.tar.gz")).unwrap()
    };
    let first = packed();
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert!(first == packed());
}

/// Where an overlay cannot be mounted, the build works in the temporary folder itself.
#[test]
fn a_build_without_the_overlay_packs_the_same_bytes() {
    let actions = "  - action: run\n    command: |\n      cd \"$ROOTDIR\"\n      \
                   stat -f -c %T . >\"$ARTIFACTDIR/filesystem\"\n      \
                   mkdir -p a/b\n      echo x >a/b/x\n      ln a/b/x a/y\n      mv a c\n      \
                   rm c/b/x\n      chown 7:8 c/y\n      chmod 4750 c/y\n      mkfifo c/p\n  \
                   - action: pack\n    file: p.tar\n    compression: none\n";
    let packed = |folder: &str| {
        let bench = Bench::new(actions);
        fs::create_dir(bench.path(folder)).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
            .args(["build", "r.yaml", "--artifactdir", "out", "--no-cache"])
            .env("TMPDIR", bench.path(folder))
            .current_dir(bench.dir.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let left: Vec<_> = fs::read_dir(bench.path(folder)).unwrap().collect();
        assert!(left.is_empty(), "{left:?}");
        let kind = fs::read_to_string(bench.path("out/filesystem")).unwrap();
        (kind, fs::read(bench.path("out/p.tar")).unwrap())
    };
    // A comma ends an option of mount.
    let ((with, one), (without, two)) = (packed("tmp"), packed("t,mp"));
    assert!(with == "overlayfs\n" && without != with, "{with}{without}");
    assert!(one == two);
}

/// Serves one text under every address, until the test ends.
fn serve(text: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", text.len());
            let _ = stream.write_all(format!("{head}Connection: close\r\n\r\n{text}").as_bytes());
        }
    });
    address
}

#[test]
fn a_download_is_an_origin_and_its_sum_is_checked() {
    let actions = "  - action: download\n    url: {{ .server }}/some/f.txt\n    name: data\n    \
                     sha256sum: {{ .sum }}\n  \
                     - action: overlay\n    origin: data\n    destination: /etc/fetched\n  \
                     - action: pack\n    file: p.tar\n    compression: none\n";
    let server = format!("server:{}", serve("hello"));
    let bench = Bench::new(actions);
    let sum = "sum:2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824";
    bench.built(&["-t", &server, "-t", sum]);
    assert_eq!(content(&bench.tar("p.tar", plain), "etc/fetched"), "hello");
    let bench = Bench::new(actions);
    let sum = format!("sum:{}", "0".repeat(64));
    let (code, text) = bench.build(&["-t", &server, "-t", &sum]);
    assert!(code == 23 && text.contains("r.yaml:5: "), "{code} {text}");
    assert!(text.contains("the recipe wants 0000"), "{text}");
    assert_eq!(bench.artifacts(), Vec::<String>::new());
}

#[test]
fn actions_of_the_host_need_no_system_in_the_root() {
    let bench = Bench::new("");
    bench.write("files/etc/setting", "mine");
    bench.write(
        "r.yaml",
        r#"architecture: arm64
actions:
  - action: download
    url: {{ .server }}/some/f.txt
    name: data
  - action: overlay
    source: files
  - action: run
    command: |
      test "$(cat "$ROOTDIR/../f.txt")" = hello
      echo more >"$ROOTDIR/etc/more"
  - action: pack
    file: p.tar
    compression: none
"#,
    );
    let server = format!("server:{}", serve("hello"));
    bench.built(&["-t", &server]);
    let entries = bench.tar("p.tar", plain);
    assert_eq!(content(&entries, "etc/setting"), "mine");
    assert_eq!(content(&entries, "etc/more"), "more\n");
    // A tar of the root itself, or a command in it, would hold nothing that was meant.
    let (code, text) = bench.build(&["-t", &server, "-o", "x.tar"]);
    assert!(code == 23 && text.contains("nothing makes a root filesystem"), "{code} {text}");
}

#[test]
fn what_cannot_be_done_is_said_before_anything_starts() {
    let bench = Bench::new("");
    fs::remove_file(bench.path("out/root.tar.gz")).unwrap();
    let (code, text) = bench.build(&["-o", "x.tar"]);
    assert!(code == 23 && text.contains("r.yaml:3: out/root.tar.gz is not there"), "{text}");

    let bench = Bench::new("  - action: run\n    chroot: true\n    command: ls\n");
    let (code, text) = bench.build(&[]);
    assert!(code == 1 && text.contains("name the tar of the root filesystem with -o"), "{text}");

    let bench = Bench::new("  - action: unpack\n    file: a.zip\n");
    bench.write("out/a.zip", "");
    let mut command = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"));
    command.args(["build", "r.yaml", "--no-cache", "-o", "x.tar", "--artifactdir", "out"]);
    command.current_dir(bench.dir.path());
    let output = command.env("PATH", "/nowhere").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(24), "{text}");
    assert!(text.contains("mmdebstrap (Debian package mmdebstrap)"), "{text}");
    assert!(text.contains("unzip (Debian package unzip)"), "{text}");
}

#[test]
fn print_recipe_and_dry_run_build_nothing() {
    let bench = Bench::new("  - action: pack\n    file: {{ or .name \"x\" }}.tar.gz\n");
    let output = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"))
        .args(["build", "r.yaml", "--artifactdir", "out", "-t", "name:y"])
        .args(["--print-recipe", "--dry-run"])
        .current_dir(bench.dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    assert!(text.starts_with("# r.yaml\n") && text.contains("file: y.tar.gz"), "{text}");
    assert_eq!(bench.artifacts(), Vec::<String>::new());
}

#[test]
fn the_cache_serves_the_same_recipe_in_another_folder_and_no_other_one() {
    let cache = tempfile::tempdir().unwrap();
    let cache = cache.path().to_str().unwrap();
    let actions = |word: &str| {
        format!(
            "  - action: overlay\n    source: files\n  - action: run\n    chroot: true\n    \
            script: do.sh {word}\n  \
            - action: run\n    command: touch \"$ROOTDIR/made\"\n"
        )
    };
    let build = |word: &str, file: &str| {
        let bench = Bench::new(&actions(word));
        bench.write("do.sh", "#!/bin/sh\necho \"$1\" > /word\n");
        fs::set_permissions(bench.path("do.sh"), fs::Permissions::from_mode(0o755)).unwrap();
        bench.write("files/etc/here", file);
        let said = bench.built(&["-o", "rootfs.tar", "--cache", cache]);
        (said.contains("nothing has changed"), fs::read(bench.path("rootfs.tar")).unwrap())
    };
    let (found, first) = build("one", "1");
    assert!(!found);
    let (found, again) = build("one", "1");
    assert!(found && again == first);
    assert!(!build("two", "1").0 && !build("one", "2").0);
}
