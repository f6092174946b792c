//! What a second build does again, and what it takes from the cache. No network: the roots are
//! unpacked. An action that sleeps is worth a state.

#![allow(
    clippy::unwrap_used,
    reason = "a test; the lint's own exception does not reach its functions"
)]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

const PROGRAMS: [&str; 6] = ["sh", "cat", "date", "mkdir", "sleep", "tar"];

/// A folder with a recipe, a root to unpack, and a cache.
struct Bench {
    dir: tempfile::TempDir,
}

/// Writes the time of each run, so that a run leaves a trace in the result.
const STAMP: &str = "date +%s.%N >/etc/stamp-";

fn run(name: &str, more: &str) -> String {
    format!("  - action: run\n    chroot: true\n    command: {STAMP}{name}; {more}\n")
}

const OVERLAY: &str = "  - action: overlay\n    source: files\n";

impl Bench {
    fn new(actions: &str) -> Self {
        let bench = Self { dir: tempfile::tempdir().unwrap() };
        bench.write("files/etc/edited", "1\n");
        fs::create_dir(bench.path("out")).unwrap();
        bench.recipe(actions);
        let root = bench.path("root");
        for program in PROGRAMS {
            let path = ["/bin", "/usr/bin"].map(|dir| Path::new(dir).join(program));
            let path = path.into_iter().find(|path| path.exists()).unwrap();
            let ldd = Command::new("ldd").arg(&path).output().unwrap();
            let text = String::from_utf8(ldd.stdout).unwrap();
            copy(&path, &root.join("bin").join(program));
            for file in text.split_ascii_whitespace().filter(|word| word.starts_with('/')) {
                copy(Path::new(file), &root.join(file.trim_start_matches('/')));
            }
        }
        for folder in ["etc", "tmp", "root", "proc", "sys", "dev", "run"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        bench.pack_root();
        bench
    }

    fn pack_root(&self) {
        let tar = Command::new("tar")
            .args(["-c", "--owner=0", "--group=0", "-f", "out/root.tar", "-C", "root", "."])
            .current_dir(self.dir.path())
            .status();
        assert!(tar.unwrap().success());
    }

    fn recipe(&self, actions: &str) {
        let head = "architecture: amd64\nactions:\n  - action: unpack\n    file: root.tar\n";
        self.write("r.yaml", &format!("{head}{actions}"));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_daruma-bundler"));
        command.args(args).env("DARUMA_CACHE", self.path("cache")).env_remove("SOURCE_DATE_EPOCH");
        command.current_dir(self.dir.path());
        command
    }

    fn build_command(&self, args: &[&str]) -> Command {
        let mut command = self.command(&["build", "r.yaml", "--artifactdir", "out"]);
        command.args(args);
        command
    }

    fn built(&self, args: &[&str]) -> String {
        let output = self.build_command(args).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        text
    }

    /// The text of a file in a tar.
    fn text(&self, tar: &str, name: &str) -> String {
        let output =
            Command::new("tar").arg("-xOf").arg(self.path(tar)).arg(name).output().unwrap();
        assert!(output.status.success(), "{tar} has no {name}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn stamp(&self, tar: &str, name: &str) -> String {
        self.text(tar, &format!("./etc/stamp-{name}"))
    }

    fn kept(&self, ending: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("cache/build")).into_iter().flatten().flatten();
        let mut files: Vec<_> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == ending))
            .collect();
        files.sort();
        files
    }

    /// Starts a build, and waits until the cache has this state.
    fn started(&self, args: &[&str], state: &str) -> Child {
        fs::create_dir(self.path("tmp")).unwrap();
        let mut command = self.build_command(args);
        command.env("TMPDIR", self.path("tmp")).stderr(Stdio::null());
        let child = command.spawn().unwrap();
        let begun = Instant::now();
        let is_kept = |description: &PathBuf| {
            fs::read_to_string(description).is_ok_and(|text| text.contains(state))
        };
        while !self.kept("json").iter().any(is_kept) {
            assert!(begun.elapsed() < Duration::from_secs(120), "no state was kept");
            std::thread::sleep(Duration::from_millis(20));
        }
        child
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.parent().unwrap()).unwrap();
    fs::copy(from, to).unwrap();
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}

#[test]
fn an_edited_overlay_runs_only_what_comes_after_it() {
    let actions = [&run("before", "sleep 3"), OVERLAY, &run("after", "true")].concat();
    let bench = Bench::new(&actions);
    bench.built(&["-o", "1.tar"]);
    bench.write("files/etc/edited", "2\n");
    let said = bench.built(&["-o", "2.tar"]);
    assert!(said.contains("after action 2 of 4 from the cache"), "{said}");
    assert!(!said.contains("2 of 4: run") && said.contains("3 of 4: overlay files"), "{said}");
    assert_eq!(bench.stamp("1.tar", "before"), bench.stamp("2.tar", "before"));
    assert_ne!(bench.stamp("1.tar", "after"), bench.stamp("2.tar", "after"));
    assert_eq!(bench.text("2.tar", "./etc/edited"), "2\n");
    // A mode counts as much as content.
    let edited = fs::Permissions::from_mode(0o600);
    fs::set_permissions(bench.path("files/etc/edited"), edited).unwrap();
    let said = bench.built(&["-o", "3.tar"]);
    assert!(said.contains("after action 2 of 4 from the cache"), "{said}");
    // An edit before the state makes everything again.
    bench.recipe(&actions.replace("sleep 3", "sleep 3; true"));
    bench.built(&["-o", "4.tar"]);
    assert_ne!(bench.stamp("3.tar", "before"), bench.stamp("4.tar", "before"));
}

#[test]
fn a_build_from_a_state_gives_the_bytes_of_a_whole_one() {
    let odd = "mkdir -p /etc/sub /run/here; cat /etc/sub/none || true; date >/run/here/x; \
               cat /etc/hostname >/etc/copied || true; sleep 3";
    let later = "  - action: run\n    chroot: true\n    command: cat /run/here/x >/etc/y; \
                 cat /etc/hostname >/etc/copied-later || true\n";
    let bench = Bench::new(&[&run("before", odd), OVERLAY, later].concat());
    bench.built(&["-o", "whole.tar"]);
    // The finished tar goes, and the state stays.
    for description in bench.kept("json") {
        if fs::read_to_string(&description).unwrap().contains("the root filesystem\"") {
            fs::remove_file(description.with_extension("content")).unwrap();
            fs::remove_file(description).unwrap();
        }
    }
    let said = bench.built(&["-o", "again.tar"]);
    assert!(said.contains("after action 2 of 4 from the cache"), "{said}");
    assert!(read(&bench.path("whole.tar")) == read(&bench.path("again.tar")));
    let said = bench.built(&["-o", "third.tar"]);
    assert!(said.contains("nothing has changed"), "{said}");
    assert!(read(&bench.path("whole.tar")) == read(&bench.path("third.tar")));
}

#[test]
fn an_action_that_writes_artifacts_runs_every_time() {
    let bench = Bench::new(
        &[
            &run("before", "sleep 3"),
            "  - action: run\n    command: echo x >\"$ARTIFACTDIR/note\"\n",
            "  - action: pack\n    file: p.tar\n    compression: none\n",
        ]
        .concat(),
    );
    let said = bench.built(&["-o", "1.tar"]);
    // The summary names every file with its size.
    for file in ["out/note", "out/p.tar", "1.tar"] {
        assert!(said.lines().any(|line| line.ends_with(&format!("  {file}"))), "{file}: {said}");
    }
    for file in ["note", "p.tar"] {
        fs::remove_file(bench.path("out").join(file)).unwrap();
    }
    let said = bench.built(&["-o", "2.tar"]);
    assert!(said.contains("after action 2 of 4 from the cache"), "{said}");
    assert!(bench.path("out/note").exists());
    assert_eq!(bench.stamp("out/p.tar", "before"), bench.stamp("1.tar", "before"));
}

#[test]
fn files_beside_a_script_and_files_that_a_command_names_count() {
    let script = "  - action: run\n    chroot: true\n    script: scripts/s.sh\n";
    let named = "  - action: run\n    command: cat named.txt >\"$ROOTDIR/etc/named\"\n";
    let bench = Bench::new(&[script, named].concat());
    bench.write("scripts/s.sh", "#!/bin/sh\ncat /tmp/script/beside >/etc/beside\n");
    fs::set_permissions(bench.path("scripts/s.sh"), fs::Permissions::from_mode(0o755)).unwrap();
    for (beside, name) in [("1", "x"), ("2", "x"), ("2", "y")] {
        bench.write("scripts/beside", beside);
        bench.write("named.txt", name);
        bench.built(&["-o", "t.tar"]);
        assert_eq!(bench.text("t.tar", "./etc/beside"), beside);
        assert_eq!(bench.text("t.tar", "./etc/named"), name);
    }
    assert!(bench.built(&["-o", "t.tar"]).contains("nothing has changed"));
}

#[test]
fn a_killed_build_leaves_nothing_that_the_next_one_takes_for_whole() {
    let actions = [&run("before", "sleep 3"), OVERLAY, &run("slow", "sleep 2")].concat();
    let bench = Bench::new(&actions);
    let mut child = bench.started(&["-o", "t.tar"], "after action 2 of 4");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("t.tar").exists());
    // Whoever builds: nothing is mounted on the host.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(bench.dir.path().to_str().unwrap()), "{mounts}");
    // A writer that was killed in its middle leaves this.
    let state = bench.kept("content")[0].clone();
    let part = state.with_extension("x.part");
    fs::write(&part, "half").unwrap();
    let said = bench.built(&["-o", "t.tar"]);
    assert!(said.contains("after action 2 of 4 from the cache"), "{said}");
    assert!(!part.exists() && bench.kept("part").is_empty());
    assert_eq!(bench.text("t.tar", "./etc/edited"), "1\n");
    let said = bench.built(&["-o", "again.tar"]);
    assert!(said.contains("nothing has changed"), "{said}");
    assert!(read(&bench.path("t.tar")) == read(&bench.path("again.tar")));
    // A content without its description was not finished.
    for description in bench.kept("json") {
        fs::remove_file(description).unwrap();
    }
    let said = bench.built(&["-o", "third.tar"]);
    assert!(said.contains("it was not finished") && said.contains("2 of 4: run"), "{said}");
}

#[test]
fn an_artifact_that_was_not_finished_never_has_its_name() {
    let bench = Bench::new(
        "  - action: run\n    command: head -c 6000000 /dev/urandom >\"$ROOTDIR/big\"\n  \
           - action: pack\n    file: p.tar.xz\n    compression: xz\n",
    );
    let parts = || {
        let entries = fs::read_dir(bench.path("out")).unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".part")).count()
    };
    let mut child = bench.build_command(&[]).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    while parts() == 0 {
        assert!(begun.elapsed() < Duration::from_secs(120), "nothing was packed");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("out/p.tar.xz").exists());
    // The killed build's programs may still write, and two more builds write at the same time.
    let mut builds: Vec<Child> =
        (0..2).map(|_| bench.build_command(&[]).stderr(Stdio::null()).spawn().unwrap()).collect();
    assert!(builds.iter_mut().all(|build| build.wait().unwrap().success()));
    let whole = Command::new("xz").arg("-t").arg(bench.path("out/p.tar.xz")).status().unwrap();
    assert!(whole.success());
}

#[test]
fn two_builds_at_once_do_not_disturb_each_other() {
    let bench = Bench::new(&[&run("before", "sleep 3"), OVERLAY, &run("slow", "true")].concat());
    let mut builds: Vec<Child> = ["1.tar", "2.tar"]
        .map(|out| bench.build_command(&["-o", out]).stderr(Stdio::null()).spawn().unwrap())
        .into();
    assert!(builds.iter_mut().all(|build| build.wait().unwrap().success()));
    for out in ["1.tar", "2.tar"] {
        assert_eq!(bench.text(out, "./etc/edited"), "1\n");
    }
    assert!(bench.kept("part").is_empty());
    let said = bench.built(&["-o", "3.tar"]);
    assert!(said.contains("nothing has changed") && !said.contains("warning"), "{said}");
    let third = read(&bench.path("3.tar"));
    assert!(["1.tar", "2.tar"].iter().any(|out| read(&bench.path(out)) == third));
}

#[test]
fn a_damaged_file_is_noticed_and_made_again() {
    let bench = Bench::new(&[&run("before", "sleep 3"), OVERLAY].concat());
    bench.built(&["-o", "1.tar"]);
    let kept = bench.kept("content");
    assert_eq!(kept.len(), 2);
    for (index, file) in kept.iter().enumerate() {
        // The output is a link to the same file.
        let bytes = read(file);
        fs::remove_file(file).unwrap();
        match index {
            0 => fs::write(file, &bytes[..bytes.len() / 2]).unwrap(),
            _ => fs::write(file, [&bytes[..bytes.len() - 1], b"x"].concat()).unwrap(),
        }
    }
    let said = bench.built(&["-o", "2.tar"]);
    assert_eq!(said.matches("warning: the cache has a damaged file").count(), 2, "{said}");
    assert!(said.contains("2 of 3: run"), "{said}");
    assert_eq!(bench.text("2.tar", "./etc/edited"), "1\n");
    assert!(bench.built(&["-o", "3.tar"]).contains("nothing has changed"));
    assert!(read(&bench.path("2.tar")) == read(&bench.path("3.tar")));
}

#[test]
fn a_full_disk_costs_one_line_and_not_the_build() {
    let bench = Bench::new(&[&run("before", "sleep 3"), OVERLAY].concat());
    fs::create_dir_all(bench.path("cache/build")).unwrap();
    let script = "mount -t tmpfs -o size=256k none cache/build && exec \"$@\"";
    let program = env!("CARGO_BIN_EXE_daruma-bundler");
    // An ordinary user is root of a namespace of its own, which may mount.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let user = ["--user", "--map-root-user", "--map-auto"].into_iter().filter(|_| !is_root);
    let output = Command::new("unshare")
        .args(user)
        .args(["--mount", "sh", "-c", script, "sh"])
        .args([program, "build", "r.yaml", "--artifactdir", "out", "-o", "1.tar"])
        .env("DARUMA_CACHE", bench.path("cache"))
        .current_dir(bench.dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    let warnings: Vec<_> = said.lines().filter(|line| line.starts_with("warning: ")).collect();
    assert!(
        !warnings.is_empty()
            && warnings.iter().all(|line| line.contains("No space left on device")),
        "{said}"
    );
    assert_eq!(warnings.len(), 1, "{said}");
    assert_eq!(bench.text("1.tar", "./etc/edited"), "1\n");
}

#[test]
fn the_cache_is_shown_and_trimmed() {
    let bench = Bench::new(&[&run("before", "sleep 3"), OVERLAY].concat());
    bench.built(&["-o", "1.tar"]);
    let cache = |args: &[&str]| {
        let output = bench.command(&[&["cache"], args].concat()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = cache(&[]);
    assert!(shown.contains("r.yaml: the root filesystem"), "{shown}");
    assert!(shown.contains("r.yaml: after action 2 of 3"), "{shown}");
    // On a slow host there is a third one: before the first action.
    let count = bench.kept("content").len();
    assert!(count >= 2, "{shown}");
    assert!(shown.contains(&format!("in {count} files, at most 10.0 GB")), "{shown}");
    // The states were used a day ago, and the result was used now.
    let mut states = bench.kept("json");
    states.retain(|description| {
        !fs::read_to_string(description).unwrap().contains("the root filesystem")
    });
    assert_eq!(states.len(), count - 1);
    let day = SystemTime::now() - Duration::from_secs(26 * 60 * 60);
    for state in &states {
        File::options().append(true).open(state).unwrap().set_modified(day).unwrap();
    }
    assert!(cache(&["--older", "2"]).contains("removed 0 B"));
    let bytes = bench.kept("content").iter().map(|f| f.metadata().unwrap().len()).max().unwrap();
    let said = cache(&["--trim", &bytes.to_string()]);
    assert!(said.contains("26 h ago") && !states.iter().any(|state| state.exists()), "{said}");
    assert!(bench.built(&["-o", "2.tar"]).contains("nothing has changed"));
    // What a build uses now stays.
    let used = File::open(&bench.kept("content")[0]).unwrap();
    used.lock_shared().unwrap();
    cache(&["--trim", "0"]);
    assert_eq!(bench.kept("content").len(), 1);
    drop(used);
    cache(&["--trim", "0"]);
    assert_eq!(bench.kept("content").len() + bench.kept("json").len(), 0);
    // Earlier versions wrote tars without a description, and never removed them.
    bench.write("cache/build/0123.tar", "old");
    assert!(cache(&[]).contains("not whole"));
    cache(&["--trim", "0"]);
    assert!(bench.kept("tar").is_empty());
    // The output is not the cache's to remove.
    assert_eq!(bench.text("1.tar", "./etc/edited"), "1\n");
}

/// A bench whose root has a kernel without modules, and what signs.
fn appliance(actions: &str) -> Bench {
    let bench = Bench::new("");
    let modules = "usr/lib/modules/6.1.0-test";
    bench.write("root/boot/vmlinuz-6.1.0-test", "a kernel");
    let names = ["squashfs", "overlay", "ext4", "dm-mod", "dm-verity"];
    let builtin = names.map(|name| format!("kernel/{name}.ko\n")).concat();
    bench.write(&format!("root/{modules}/modules.builtin"), &builtin);
    bench.write(&format!("root/{modules}/modules.order"), "");
    bench.write("root/etc/os-release", "ID=test\n");
    bench.pack_root();
    bench.recipe(&format!(
        "{actions}  - action: kernel\n    modules: []\n  \
         - action: bundle\n    compatible: box\n"
    ));
    for program in ["daruma", "daruma-static", "daruma-init"] {
        bench.write(&format!("programs/{program}"), program);
    }
    let keygen = bench.command(&["keygen", "--out", "keys", "--name", "k"]).output().unwrap();
    assert!(keygen.status.success());
    copy(&bench.path("keys/k.pub.pem"), &bench.path("ring/k.pub.pem"));
    bench
}

const SIGNED: [&str; 8] = [
    "--key",
    "keys/k.key.pem",
    "--keyring",
    "ring",
    "--version",
    "1.0.0",
    "--device-programs",
    "programs",
];

#[test]
fn one_command_makes_the_bundle_and_a_second_one_takes_it_from_the_cache() {
    let bench = appliance(OVERLAY);
    let bundle = bench.path("out/box-1.0.0.daruma");
    let said = bench.built(&SIGNED);
    assert!(said.lines().last().unwrap().ends_with("out/box-1.0.0.daruma"), "{said}");
    let first = read(&bundle);
    assert!(bench.built(&SIGNED).contains("box-1.0.0.daruma: nothing has changed"));
    assert!(read(&bundle) == first);
    // The verbs one after the other give the same, with or without a cache.
    bench.built(&["-o", "root.tar"]);
    let verb = ["bundle", "r.yaml", "--rootfs", "root.tar", "-o", "verb.daruma", "--no-cache"];
    let made = bench.command(&[&verb[..], &SIGNED].concat()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    assert!(read(&bench.path("verb.daruma")) == first);
    // Whatever goes into a bundle counts: an overlay, a program, the recipe, the version.
    bench.write("files/etc/edited", "2\n");
    assert!(!bench.built(&SIGNED).contains("nothing has changed"));
    bench.write("programs/daruma", "another");
    let said = bench.built(&SIGNED);
    assert!(said.contains("r.yaml: nothing has changed"), "{said}");
    assert!(!said.contains("daruma: nothing has changed"), "{said}");
    // A damaged bundle is made again.
    let whole = read(&bundle);
    for file in bench.kept("content").iter().filter(|file| read(file) == whole) {
        fs::remove_file(file).unwrap();
        fs::write(file, &whole[..whole.len() / 2]).unwrap();
    }
    assert!(bench.built(&SIGNED).contains("damaged"));
    assert!(read(&bundle) == whole);
    let output = bench.build_command(&[]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("name keys with --key, --keyring and --version"), "{said}");
}

#[test]
fn a_bundle_that_was_not_finished_never_has_its_name() {
    let bench = appliance(
        "  - action: run\n    command: \
        head -c 30000000 /dev/urandom >\"$ROOTDIR/big\"\n",
    );
    let mut child = bench.build_command(&SIGNED).stderr(Stdio::null()).spawn().unwrap();
    let begun = Instant::now();
    let is_begun = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        // The second folder is that of the bundle.
        name.starts_with(".daruma-bundle-") && entry.path().join("root.img").exists()
    };
    while !fs::read_dir(bench.path("out")).unwrap().flatten().any(is_begun) {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        assert!(begun.elapsed() < Duration::from_secs(120), "no bundle was begun");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!bench.path("out/box-1.0.0.daruma").exists());
    bench.built(&SIGNED);
    let verify = ["verify", "out/box-1.0.0.daruma", "--keyring", "ring"];
    assert!(bench.command(&verify).status().unwrap().success());
}
