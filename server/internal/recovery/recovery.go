// Package recovery keeps a panic in a background goroutine from ending the process.
package recovery

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// Log recovers from a panic and logs its type and stack. The value of a panic is left out of the log,
// because it may be anything, such as a secret. Log must be deferred directly:
//
//	defer recovery.Log(ctx, log)
func Log(ctx context.Context, log *slog.Logger) {
	if value := recover(); value != nil {
		log.ErrorContext(ctx, "panic", "type", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
	}
}
