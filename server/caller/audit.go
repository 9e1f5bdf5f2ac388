package caller

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// Audit keeps the record of who read what: one line of JSON for each lookup, allowed or denied, with the
// members time (RFC 3339, UTC), request_id, caller (as Caller.String has it), organization ("" if the
// caller gave no UUID), method and outcome (OK, or the reason of the error). The user never stands in it.
// A nil Audit keeps no record.
type Audit struct {
	lines   slog.Handler
	log     *slog.Logger
	file    *os.File // nil for stdout
	failing atomic.Bool
}

// OpenAudit returns an Audit that appends to a file, which it creates for its owner alone, or that writes
// to stdout if path is "-". If a line can't be written the lookup goes on and log says so, once until
// writing succeeds again. To rotate the file, copy and truncate it: it stays open.
func OpenAudit(path string, stdout io.Writer, log *slog.Logger) (*Audit, error) {
	if path == "-" {
		return &Audit{lines: newLines(stdout), log: log}, nil
	}
	file, err := os.OpenFile(filepath.Clean(path), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the audit log: %w", err)
	}
	return &Audit{lines: newLines(file), log: log, file: file}, nil
}

// newLines returns a handler that writes each record as one line, with its time and attributes alone.
func newLines(w io.Writer) slog.Handler {
	return slog.NewJSONHandler(w, &slog.HandlerOptions{
		ReplaceAttr: func(_ []string, attribute slog.Attr) slog.Attr {
			if attribute.Key == slog.LevelKey || attribute.Key == slog.MessageKey {
				return slog.Attr{}
			}
			return attribute
		},
	})
}

// auditLine is what is recorded of a lookup.
type auditLine struct {
	requestID, caller, organization, method, outcome string
}

// write appends a line. It may be called at the same time by many.
func (a *Audit) write(ctx context.Context, line auditLine) {
	if a == nil {
		return
	}
	record := slog.NewRecord(time.Now().UTC(), slog.LevelInfo, "", 0)
	record.AddAttrs(
		slog.String("request_id", line.requestID),
		slog.String("caller", line.caller),
		slog.String("organization", line.organization),
		slog.String("method", line.method),
		slog.String("outcome", line.outcome),
	)
	err := a.lines.Handle(ctx, record)
	switch failed := a.failing.Swap(err != nil); {
	case err != nil && !failed:
		a.log.ErrorContext(ctx, "can't write the audit log", "error", err.Error())
	case err == nil && failed:
		a.log.InfoContext(ctx, "the audit log is written again")
	}
}

// Close closes the file. Call it after the last lookup.
func (a *Audit) Close() error {
	if a == nil || a.file == nil {
		return nil
	}
	return a.file.Close()
}
