//! Asks the agent of a running machine for its status.
//!
//! The tests compare the answer. The commands run in the root shell on the machine's console.

use anyhow::{Result, ensure};
use serde_json::Value;
use tests::vm::Vm;

/// Seconds that any one boot may take; these machines are slow and shared.
const BOOT: u64 = 240;

/// Returns what `daruma status --json` prints.
pub(crate) fn status(vm: &mut Vm) -> Result<Value> {
    vm.json("daruma status --json", 60)
}

/// Waits for a shell of the test system and for health. Checks that this version runs and is
/// committed. Returns the status.
pub(crate) fn committed(vm: &mut Vm, version: &str) -> Result<Value> {
    vm.expect_all(&["tiny# ", "is healthy"], BOOT)?;
    let status = status(vm)?;
    ensure!(
        status["version"] == version
            && status["state"] == "committed"
            && status["health"] == "healthy",
        "not a committed {version}: {status}"
    );
    Ok(status)
}
