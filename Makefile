# Everything starts here. `make demo` and `make test` set up what they need; see tests/setup.

CARGO   ?= cargo
HOST    := x86_64-unknown-linux-gnu
OUT     := target/daruma
# Built images and downloads, keyed by content; never inside the repo.
export DARUMA_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/daruma
export FIRMWARE ?= bios
# rustup from Debian or from its own installer may have put cargo here without the shell knowing yet.
export PATH := $(HOME)/.cargo/bin:$(PATH)
export RUST_BACKTRACE = 0

.PHONY: help setup build check lint deny test demo bench clean
help:
	@echo 'make demo [FIRMWARE=uefi]  build Debian images, boot, update, break and fall back, in QEMU'
	@echo 'make test                  set up and run every test'
	@echo 'make check                 the fast tests: no root, no network, no QEMU'
	@echo 'make build                 daruma, daruma-init and daruma-bundler into $(OUT)/'
	@echo 'make bench                 measurements side by side with RAUC, dd and initramfs-tools'

setup:
	@tests/setup

# The agent is linked dynamically (2 libraries) for the system, and statically, like daruma-init, for recovery: an
# initramfs has no libraries.
build:
	@mkdir -p $(OUT)
	$(CARGO) build --locked --release -p bundler -p tests --bins
	$(CARGO) build --locked --profile device -p agent
	CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static' \
	    $(CARGO) build --locked --profile device --target $(HOST) -p initramfs -p agent --bins
	@install -m 755 target/release/daruma-bundler target/device/daruma target/$(HOST)/device/daruma-init $(OUT)/
	@install -m 755 target/$(HOST)/device/daruma $(OUT)/daruma-static

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny:
	@tests/setup deny
	$(CARGO) fetch --locked --quiet
	cargo-deny --locked check bans licenses sources

check: lint
	$(CARGO) test --locked --workspace --exclude tests

test: setup lint deny build
	$(CARGO) test --locked --workspace

demo: setup build
	@target/release/demo

bench: setup build
	@target/release/bench

clean:
	rm -rf target out
