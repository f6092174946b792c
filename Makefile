# Everything starts here. `make demo` and `make test` set up what they need; see tests/setup.

CARGO   ?= cargo
HOST    := x86_64-unknown-linux-gnu
OUT     := target/daruma
# Built images and downloads, keyed by content; never inside the repo.
export DARUMA_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/daruma
export FIRMWARE ?= bios
# rustup from Debian or from its own installer may have put cargo here. The shell may not know yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)
export RUST_BACKTRACE = 0

# make fuzz: seconds for each target, targets at once, and which (all, if none is named).
FUZZ_SECONDS ?= 600
JOBS         ?= 2
FUZZ_TARGETS ?=
FUZZ_BUILT   := target/fuzz
FUZZ_WORK    := $(DARUMA_CACHE)/fuzz

.PHONY: help setup build programs tools check lint deny test test-all variants sweep demo bench
.PHONY: bench-download bench-build bench-size book clean
.PHONY: fuzz fuzz-build fuzz-seeds fuzz-keep
help:
	@echo 'make demo [FIRMWARE=uefi]  build Debian images, boot, update, break and fall back, in QEMU'
	@echo 'make test                  set up and run the tests, a share of the long sweeps among them'
	@echo 'make test-all              all of the sweeps too, and the demo: for a release'
	@echo 'make check                 the fast tests: no root, no network, no QEMU'
	@echo 'make lint                  format, clippy and the rules of the house (tests/house)'
	@echo 'make variants              build, boot and update every recipe that ships; prints a table'
	@echo 'make sweep                 cut the power at every operation on the disk; prints the counts'
	@echo 'make build                 daruma, daruma-init and daruma-bundler into $(OUT)/'
	@echo 'make fuzz [FUZZ_SECONDS=600] [JOBS=2]  every fuzz target; make check has the kept corpus'
	@echo 'make bench                 measurements side by side with RAUC, dd and initramfs-tools'
	@echo 'make bench-download        what an update fetches, beside RAUC, casync, zsync and xdelta3'
	@echo 'make bench-build           what a build takes, beside mmdebstrap and debos'
	@echo 'make bench-size            how large the router and base are, and what compression costs'
	@echo 'make book                  docs/ as a book, into target/book/'

setup:
	@tests/setup

# The agent is linked dynamically (2 libraries) for the system, and statically, like daruma-init,
# for recovery. An initramfs has no libraries and no network, so the static agent is built without
# the features of a running system. `cargo rustc` gives its flags to the last step only, so all
# three programs are linked from the same compiled crates.
#
# Packed relocations (glibc 2.36, Debian 12) and one copy of equal functions take 150 kB less.
DEVICE := --locked --profile device
STATIC := -- -C target-feature=+crt-static -C relocation-model=static -C link-arg=-Wl,--icf=all
PACKED := -- -C link-arg=-Wl,-z,pack-relative-relocs -C link-arg=-Wl,--icf=all
build: programs
	$(CARGO) build --locked --release -p bundler --bins
	@install -m 755 target/release/daruma-bundler $(OUT)/

programs:
	@mkdir -p $(OUT)
	$(CARGO) rustc $(DEVICE) --no-default-features -p initramfs --bin daruma-init $(STATIC)
	$(CARGO) rustc $(DEVICE) --no-default-features -p agent --bin daruma $(STATIC)
	@install -m 755 target/device/daruma $(OUT)/daruma-static
	$(CARGO) rustc $(DEVICE) -p agent --bin daruma $(PACKED)
	@install -m 755 target/device/daruma target/device/daruma-init $(OUT)/

# What runs a demo or a measurement, not what is tested.
tools:
	$(CARGO) build --locked --release -p tests --bins

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets --features bundler/real-registry -- -D warnings
	$(CARGO) run --locked --quiet -p house

deny:
	@tests/setup deny
	$(CARGO) fetch --locked --quiet
	cargo-deny --locked check bans licenses sources

check: lint
	$(CARGO) test --locked --workspace --exclude tests

test: setup
	@tests/suite test

# Everything that there is, for a release and before an issue is called resolved.
test-all: setup
	@tests/suite test-all

# The table of docs/variants.md. Not beside other work: the times are this machine's.
variants: setup build
	@DARUMA_VARIANTS=all $(CARGO) test --locked -p tests --test variants -- --nocapture --test-threads=1 | grep '^| '

# The agent's steps on a disk in memory; then a whole machine's life, recorded in QEMU. The real
# GRUB judges both.
sweep: setup build
	@$(CARGO) run --locked --quiet -p tests --bin sweep
	DARUMA_SWEEP=all $(CARGO) test --locked --release -p tests --test machines machine_sweep -- --nocapture --test-threads=1

# Compiles as the tests do, so that a machine needs one set of compiled crates for both.
demo: setup
	@tests/compiled take
	@tests/compiled programs & programs=$$!; \
	    $(CARGO) build --locked -p bundler -p tests --bin daruma-bundler --bin demo && wait $$programs
	@install -m 755 target/debug/daruma-bundler $(OUT)/
	@target/debug/demo

bench: setup build tools
	@tests/setup bench
	@target/release/bench

# Only what is fetched for an update: bytes, which need neither root nor a quiet machine.
bench-download: setup build tools
	@tests/setup bench
	@target/release/bench download

# Only what a build takes. Without root it leaves out debos.
bench-build: setup build tools
	@target/release/bench build
# How large the systems are. `make bench-size PACKINGS=packings` packs the router in every way too.
bench-size: setup build tools
	@target/release/bench size
	@for what in $(PACKINGS); do target/release/bench $$what; done

# RUSTC_BOOTSTRAP lets the stable compiler take the two unstable flags that the address sanitizer
# needs. The programs that are shipped are never built this way. clang builds zstd's C, because
# gcc's address sanitizer takes tables that it has made static for variables out of scope.
fuzz-build:
	@tests/setup fuzz
	$(CARGO) build --locked --quiet -p hostile --bin fuzz
	CC=clang RUSTC_BOOTSTRAP=1 $(CARGO) fuzz build --fuzz-dir tests/fuzz --target-dir $(FUZZ_BUILT)

fuzz: fuzz-build
	target/debug/fuzz run $(FUZZ_BUILT)/$(HOST)/release tests/fuzz/corpus $(FUZZ_WORK) $(FUZZ_SECONDS) $(JOBS) $(FUZZ_TARGETS)

# After a run: merges what was found into the corpus of the repo, minimised.
fuzz-keep: fuzz-build
	target/debug/fuzz keep $(FUZZ_BUILT)/$(HOST)/release tests/fuzz/corpus $(FUZZ_WORK) $(FUZZ_TARGETS)

fuzz-seeds:
	$(CARGO) run --locked --quiet -p hostile --bin fuzz -- seeds tests/fuzz/corpus

book:
	@tests/setup book
	mdbook build docs

clean:
	rm -rf target out
