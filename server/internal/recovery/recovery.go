// Package recovery counts the panics that the service recovers from, and describes them without their values: these may
// be anything, such as a secret or a person's data.
package recovery

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"

	"example.com/podero-facade/server/requestid"
)

// recovered is of the whole process, because a panic is a fault of the program and not of one of its parts.
var recovered atomic.Int64

// Count returns how many panics the process has recovered from.
func Count() int64 { return recovered.Load() }

// Log recovers from a panic, and counts and logs it. It must be deferred directly:
//
//	defer recovery.Log(ctx, log)
func Log(ctx context.Context, log *slog.Logger) {
	if value := recover(); value != nil {
		Write(ctx, log, value)
	}
}

// Write counts a panic whose value recover returned, and logs its type and stack.
func Write(ctx context.Context, log *slog.Logger, value any) {
	recovered.Add(1)
	log.ErrorContext(ctx, "panic", "request_id", requestid.From(ctx), "type", fmt.Sprintf("%T", value), "stack", string(debug.Stack()))
}

// A PanicError is a panic as an error: the type of its value, and the stack.
type PanicError struct{ text string }

func (e *PanicError) Error() string { return e.text }

// Error counts a panic whose value recover returned, and returns it as a PanicError.
func Error(value any) error {
	recovered.Add(1)
	return &PanicError{fmt.Sprintf("panic of type %T\n%s", value, debug.Stack())}
}
