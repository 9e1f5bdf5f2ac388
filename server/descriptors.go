package server

// Limits of connections. Each connection takes a file descriptor, and RLIMIT_NOFILE limits these.
const (
	maxUpstreamConnections = 4096
	maxCallerConnections   = 4096 // per port: gRPC, REST; an idle gRPC connection takes 20 KiB
	maxAdminConnections    = 32
	minConnections         = 8 // even if there are too few descriptors

	// reservedDescriptors is the number of descriptors for everything else: the admin port, files,
	// Redis, token requests, keys, DNS and exporters.
	reservedDescriptors = 96
)

// connectionLimit holds the limits of connections to Podero and of connections per port for
// callers, so that the process does not run out of descriptors.
type connectionLimit struct{ upstream, callers int }

// newConnectionLimit divides the descriptors of the process, less the reserved ones, into three
// equal parts: for Podero, the gRPC port and the REST port.
func newConnectionLimit(descriptors uint64) connectionLimit {
	const most = reservedDescriptors + maxUpstreamConnections + 2*maxCallerConnections
	share := (int(min(descriptors, most)) - reservedDescriptors) / 3
	share = max(share, minConnections)
	return connectionLimit{upstream: min(share, maxUpstreamConnections), callers: min(share, maxCallerConnections)}
}

// perPeer returns the limit of connections of one peer, given the setting and the limit of the port. If
// the setting is 0, it is half of the port's limit.
func perPeer(setting, all int) int {
	if setting == 0 {
		return max(all/2, 1)
	}
	return min(setting, all)
}
