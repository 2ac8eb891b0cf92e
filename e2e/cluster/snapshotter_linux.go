package cluster

import "golang.org/x/sys/unix"

// snapshotter returns containerd's snapshotter: overlayfs, unless dir is on a file system that can't be the upper part of one.
func snapshotter(dir string) string {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return "overlayfs"
	}
	switch fs.Type {
	case unix.OVERLAYFS_SUPER_MAGIC, unix.NFS_SUPER_MAGIC, unix.FUSE_SUPER_MAGIC:
		return "native"
	}
	return "overlayfs"
}
