package caller

import "context"

// CountKeys fetches an issuer's keys once, and returns how many are usable and how many are to be ignored.
// Its error says what is wrong and, where that is known, what to do.
func CountKeys(ctx context.Context, config TokenConfig) (usable, ignored int, err error) {
	keys, ignored, err := newIssuer(config).fetch(ctx)
	return len(keys), ignored, err
}

// Entries returns how many callers the policy names.
func (p *Policy) Entries() int { return len(p.certificates) + len(p.subjects) }
