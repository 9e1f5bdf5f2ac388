package server

// Bounds of connections. Each takes a file descriptor, of which a process has a limited number (RLIMIT_NOFILE).
const (
	maxUpstreamConnections = 4096
	maxCallerConnections   = 4096 // of the gRPC port, and of the REST port; an idle one over gRPC takes 20 KiB
	maxAdminConnections    = 32
	minConnections         = 8

	// reservedDescriptors are for all else: the admin port, files, Redis, token requests, keys, DNS and exporters.
	reservedDescriptors = 96
)

// connectionLimit bounds the connections to Podero, and those of the gRPC and the REST port each, so that the process
// never runs out of descriptors.
type connectionLimit struct{ upstream, callers int }

func newConnectionLimit(descriptors uint64) connectionLimit {
	const most = reservedDescriptors + maxUpstreamConnections + 2*maxCallerConnections
	share := (int(min(descriptors, most)) - reservedDescriptors) / 3
	share = max(share, minConnections)
	return connectionLimit{upstream: min(share, maxUpstreamConnections), callers: min(share, maxCallerConnections)}
}

// perPeer returns how many of the connections of a port one peer may have: as the operator says, or half of them.
func perPeer(setting, all int) int {
	if setting == 0 {
		return max(all/2, 1)
	}
	return min(setting, all)
}
