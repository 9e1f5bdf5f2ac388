package podero

import (
	"log/slog"
	"sync"
)

const (
	maxDriftNames      = 32
	maxDriftNameLength = 64
	otherName          = "other"
)

// Drift takes note of what Podero sends that the contract does not know: a sign that the contract has
// moved on. Each name is logged once and counted every time. The first 32 names stand for themselves;
// all others, and what does not look like a name, count as "other" (contract.md, section 2).
type Drift struct {
	log   *slog.Logger
	count func(kind, name string)

	mu    sync.Mutex
	known map[string]map[string]bool // by kind, the names that stand for themselves, and other
}

// NewDrift returns a Drift that writes to log and counts with count.
func NewDrift(log *slog.Logger, count func(kind, name string)) *Drift {
	return &Drift{log: log, count: count, known: map[string]map[string]bool{driftField: {}, driftRole: {}, driftOther: {}}}
}

// The kinds of what can be unknown.
const (
	driftField = "field"
	driftRole  = "role"
	driftOther = "other_document" // the response is of another document than the one asked for
)

func (d *Drift) note(kind, name string) {
	d.count(kind, d.register(kind, name))
}

// register returns what a name counts as, and logs that when it is new.
func (d *Drift) register(kind, name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	names := d.known[kind]
	if names[name] {
		return name
	}
	if len(names) >= maxDriftNames || !isPlainName(name) {
		name = otherName
	}
	if !names[name] {
		names[name] = true
		d.log.Warn("Podero sends what the contract does not know", "kind", kind, "name", name)
	}
	return name
}

// isPlainName reports whether a name can be an identifier of an API, and so no person's data.
func isPlainName(name string) bool {
	if len(name) == 0 || len(name) > maxDriftNameLength {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '_', c == '-', c == '.':
		default:
			return false
		}
	}
	return true
}
