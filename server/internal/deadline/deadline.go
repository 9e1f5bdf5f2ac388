// Package deadline ends the work for a call a moment before the caller's deadline.
package deadline

import (
	"context"
	"time"
)

// reserve is how long before the caller's deadline the work ends, so that the error's status and details arrive in
// time. A call with little time keeps a tenth of it.
const reserve = 15 * time.Millisecond

// Left returns how long the work for a call may take: limit, or less if the caller's deadline is sooner.
func Left(ctx context.Context, limit time.Duration) (left time.Duration, isCallers bool) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return limit, false
	}
	left = time.Until(deadline)
	if left -= min(left/10, reserve); left < limit {
		return left, true
	}
	return limit, false
}
