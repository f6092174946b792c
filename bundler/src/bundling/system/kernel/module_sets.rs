//! What the names of the key `module-sets` of the `kernel` action mean: patterns of modules.
//!
//! `take` adds them to those of the key `modules`. `recipe` knows the names. Kernels differ, so a
//! pattern may match nothing.

/// The names of the sets, in the order of the alphabet, and their patterns.
const SETS: &[(&str, &[&str])] = &[
    ("bluetooth", &["kernel/net/bluetooth/", "kernel/drivers/bluetooth/", "kernel/net/6lowpan/"]),
    ("can", &["kernel/net/can/", "kernel/drivers/net/can/"]),
    (
        "cluster",
        &[
            "kernel/drivers/block/drbd/",
            "kernel/drivers/block/nbd*",
            "kernel/drivers/block/rbd*",
            "kernel/fs/ceph/",
            "kernel/fs/dlm/",
            "kernel/fs/gfs2/",
            "kernel/fs/nfs/",
            "kernel/fs/nfs_common/",
            "kernel/fs/nfsd/",
            "kernel/fs/ocfs2/",
            "kernel/fs/smb/",
            "kernel/net/ceph/",
            "kernel/net/rds/",
            "kernel/net/rxrpc/",
            "kernel/net/sctp/",
            "kernel/net/smc/",
            "kernel/net/sunrpc/",
            "kernel/net/tipc/",
        ],
    ),
    (
        "datacenter",
        &[
            "kernel/drivers/infiniband/",
            "kernel/drivers/net/ethernet/broadcom/bnx2x/",
            "kernel/drivers/net/ethernet/broadcom/bnxt/",
            "kernel/drivers/net/ethernet/broadcom/cnic*",
            "kernel/drivers/net/ethernet/brocade/",
            "kernel/drivers/net/ethernet/chelsio/",
            "kernel/drivers/net/ethernet/cisco/",
            "kernel/drivers/net/ethernet/emulex/",
            "kernel/drivers/net/ethernet/intel/fm10k/",
            "kernel/drivers/net/ethernet/intel/i40e/",
            "kernel/drivers/net/ethernet/intel/iavf/",
            "kernel/drivers/net/ethernet/intel/ice/",
            "kernel/drivers/net/ethernet/intel/idpf/",
            "kernel/drivers/net/ethernet/intel/libeth/",
            "kernel/drivers/net/ethernet/intel/libie/",
            "kernel/drivers/net/ethernet/mellanox/",
            "kernel/drivers/net/ethernet/netronome/",
            "kernel/drivers/net/ethernet/pensando/",
            "kernel/drivers/net/ethernet/qlogic/",
            "kernel/drivers/net/ethernet/sfc/",
            "kernel/drivers/nvme/",
            "kernel/drivers/scsi/",
        ],
    ),
    (
        "guest",
        &[
            "kernel/drivers/block/xen*",
            "kernel/drivers/hv/",
            "kernel/drivers/net/hyperv/",
            "kernel/drivers/net/vmxnet3/",
            "kernel/drivers/net/xen*",
            "kernel/drivers/scsi/hv_storvsc*",
            "kernel/drivers/scsi/vmw_pvscsi*",
            "kernel/drivers/xen/",
            "kernel/net/vmw_vsock/",
        ],
    ),
    (
        "raid",
        &["kernel/crypto/async_tx/", "kernel/drivers/md/", "kernel/fs/btrfs/", "kernel/lib/raid6/"],
    ),
    ("sensors", &["kernel/drivers/hwmon/", "kernel/drivers/iio/", "kernel/drivers/platform/x86/"]),
    ("serial", &["kernel/drivers/tty/serial/", "kernel/drivers/usb/serial/"]),
    ("sound", &["kernel/sound/"]),
    ("wifi", &["kernel/drivers/net/wireless/", "kernel/net/mac80211/", "kernel/net/wireless/"]),
];

/// Returns the patterns of a set. A name that the recipe has refused has none.
pub(super) fn patterns(name: &str) -> &'static [&'static str] {
    SETS.iter().find(|(known, _)| *known == name).map_or(&[], |(_, patterns)| patterns)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::MODULE_SETS;

    #[test]
    fn every_name_of_the_recipe_has_patterns_and_every_set_has_a_name() {
        let names: Vec<&str> = SETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, MODULE_SETS);
        for name in MODULE_SETS {
            assert!(!patterns(name).is_empty(), "{name}");
        }
    }
}
