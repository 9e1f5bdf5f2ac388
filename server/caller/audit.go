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

	"example.com/podero-facade/server/internal/linequeue"
)

const (
	auditQueue   = 8 << 20         // bytes of lines that wait to be written
	auditTimeout = 5 * time.Second // for the last lines
)

// Audit keeps the record of who read what: one line of JSON for each lookup, allowed or denied. docs/security.md has
// its fields. The user and the external ID never stand in it. Lines are never sampled, and no lookup waits for one to
// be written: if the reader is too slow or the disk is full, lines are dropped and counted. A nil Audit keeps no record.
type Audit struct {
	lines   slog.Handler
	queue   *linequeue.Writer
	log     *slog.Logger
	file    *os.File // nil for stdout
	failing atomic.Bool
}

// OpenAudit returns an Audit that appends to a file, which it creates for its owner alone, or that writes
// to stdout if path is "-". If a line can't be written the lookup goes on and log says so, once until
// writing succeeds again. To rotate the file, copy and truncate it: it stays open.
func OpenAudit(path string, stdout io.Writer, log *slog.Logger) (*Audit, error) {
	a := &Audit{log: log}
	out := stdout
	if path != "-" {
		file, err := os.OpenFile(filepath.Clean(path), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("open the audit log: %w", err)
		}
		a.file, out = file, file
	}
	a.queue = linequeue.New(out, auditQueue, linequeue.Report{Written: a.noteWritten, Dropped: func(lines int64) {
		a.log.Error("audit lines were dropped, because their reader was too slow", "dropped", lines)
	}})
	a.lines = newLines(a.queue)
	return a, nil
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
	requestID, caller, credential, address, organization, method, outcome string
	includeDeleted                                                        bool
}

// write queues a line. It may be called at the same time by many.
func (a *Audit) write(ctx context.Context, line auditLine) {
	if a == nil {
		return
	}
	record := slog.NewRecord(time.Now().UTC(), slog.LevelInfo, "", 0)
	record.AddAttrs(
		slog.String("request_id", line.requestID),
		slog.String("caller", line.caller),
		slog.String("credential", line.credential),
		slog.String("address", line.address),
		slog.String("organization", line.organization),
		slog.Bool("include_deleted", line.includeDeleted),
		slog.String("method", line.method),
		slog.String("outcome", line.outcome),
	)
	_ = a.lines.Handle(ctx, record) // a queue takes every line, or counts it
}

// noteWritten logs when writing begins to fail, and when it succeeds again.
func (a *Audit) noteWritten(err error) {
	switch failed := a.failing.Swap(err != nil); {
	case err != nil && !failed:
		a.log.Error("can't write the audit log", "error", err.Error())
	case err == nil && failed:
		a.log.Info("the audit log is written again")
	}
}

// Dropped returns how many lines were lost.
func (a *Audit) Dropped() int64 { return a.queue.Dropped() }

// Close writes the last lines and closes the file. Call it after the last lookup.
func (a *Audit) Close() error {
	if a == nil {
		return nil
	}
	a.queue.Close(auditTimeout)
	if a.file == nil {
		return nil
	}
	return a.file.Close()
}
