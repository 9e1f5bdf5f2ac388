package telemetry

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"

	"example.com/podero-facade/server/internal/linequeue"
)

// The formats of a log.
const (
	LogJSON = "json"
	LogText = "text"
)

const (
	logQueue     = 1 << 20     // bytes of lines that wait for the log's reader
	flushTimeout = time.Second // for the last lines
	maxSameLines = 10          // a second, above level debug, with the same message and reason
)

// NewLogger returns a logger that writes to w in the given format, and a function that writes the last lines. A reader of
// w that is slow or stalled delays nobody. Of lines that say the same, few are written and the others counted.
func NewLogger(w io.Writer, format string, level slog.Level) (log *slog.Logger, flush func()) {
	lines := linequeue.New(w, logQueue, linequeue.Report{Dropped: func(n int64) {
		log.Warn("log lines were dropped, because their reader was too slow", "dropped", n)
	}})
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(lines, options)
	if format == LogText {
		handler = slog.NewTextHandler(lines, options)
	}
	log = slog.New(&limitedHandler{Handler: handler, seen: &seenLines{counts: map[lineKey]*lineCount{}}})
	return log, func() { lines.Close(flushTimeout) }
}

// limitedHandler is a slog.Handler that writes at most maxSameLines lines a second with the same message and reason.
type limitedHandler struct {
	slog.Handler
	seen *seenLines
}

// seenLines counts the lines of the current second.
type seenLines struct {
	mu     sync.Mutex
	counts map[lineKey]*lineCount
}

type lineKey struct{ message, reason string }

type lineCount struct {
	since             time.Time
	lines, suppressed int
}

// Handle writes a record, or counts it as suppressed. How many were is written when the second is over.
func (h *limitedHandler) Handle(ctx context.Context, record slog.Record) error {
	if record.Level < slog.LevelInfo {
		return h.Handler.Handle(ctx, record)
	}
	key := lineKey{message: record.Message}
	record.Attrs(func(attribute slog.Attr) bool {
		if attribute.Key == "reason" {
			key.reason = attribute.Value.String()
		}
		return key.reason == ""
	})
	if !h.seen.admit(key, func(suppressed int) { h.summarize(key, suppressed) }) {
		return nil
	}
	return h.Handler.Handle(ctx, record)
}

func (h *limitedHandler) summarize(key lineKey, suppressed int) {
	log := slog.New(h.Handler)
	log.Warn("log lines were suppressed, because there were too many alike",
		"line", key.message, "reason", key.reason, "suppressed", suppressed)
}

// WithAttrs returns a handler whose records have more attributes.
func (h *limitedHandler) WithAttrs(attributes []slog.Attr) slog.Handler {
	return &limitedHandler{h.Handler.WithAttrs(attributes), h.seen}
}

// WithGroup returns a handler whose records' attributes are in a group.
func (h *limitedHandler) WithGroup(name string) slog.Handler {
	return &limitedHandler{h.Handler.WithGroup(name), h.seen}
}

// admit counts a line and reports whether it is to be written. After the second of the first line that is not,
// summarize is called with their number.
func (s *seenLines) admit(key lineKey, summarize func(suppressed int)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	count := s.counts[key]
	if count == nil {
		count = &lineCount{}
		s.counts[key] = count
	}
	if now := time.Now(); count.suppressed == 0 && now.Sub(count.since) >= time.Second {
		count.since, count.lines = now, 0
	}
	if count.lines < maxSameLines {
		count.lines++
		return true
	}
	if count.suppressed++; count.suppressed == 1 {
		time.AfterFunc(time.Until(count.since.Add(time.Second)), func() {
			s.mu.Lock()
			suppressed := count.suppressed
			count.suppressed = 0
			s.mu.Unlock()
			summarize(suppressed)
		})
	}
	return false
}
