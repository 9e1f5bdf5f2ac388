// Package liblog writes what libraries log to the service's log. Their values are left out, because they may be secrets:
// of each there is its type alone.
package liblog

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// interval is how often the same message of a library is logged. Libraries log each failure, which may be one for each
// lookup.
const interval = time.Minute

// maxMessages is the number of messages that are told apart. Libraries have fewer.
const maxMessages = 256

// Logger logs the messages of one library. Create it with New.
type Logger struct {
	log     *slog.Logger
	library string

	mu       sync.Mutex
	messages map[string]*message
}

// message is what is known of a message that was logged before.
type message struct {
	last       time.Time
	suppressed int // since then
}

// New returns a Logger for a library.
func New(log *slog.Logger, library string) *Logger {
	return &Logger{log: log, library: library, messages: map[string]*message{}}
}

// Printf logs a message with the types of its arguments as a warning. It implements go-redis's interface for loggers.
func (l *Logger) Printf(ctx context.Context, format string, args ...any) {
	types := make([]any, len(args))
	for i, arg := range args {
		types[i] = redacted{arg}
	}
	l.write(ctx, slog.LevelWarn, format, fmt.Sprintf(format, types...))
}

// write logs a text, unless another of the same format was logged a short while ago.
func (l *Logger) write(ctx context.Context, level slog.Level, format, text string) {
	suppressed, ok := l.admit(format)
	if !ok {
		return
	}
	l.log.LogAttrs(ctx, level, "message of a library",
		slog.String("library", l.library), slog.String("message", text), slog.Int("suppressed", suppressed))
}

// admit reports whether a message may be logged now, and how many like it were suppressed.
func (l *Logger) admit(format string) (suppressed int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	m, known := l.messages[format]
	if !known && len(l.messages) >= maxMessages {
		return 0, false
	}
	if !known {
		l.messages[format] = &message{last: time.Now()}
		return 0, true
	}
	if time.Since(m.last) < interval {
		m.suppressed++
		return 0, false
	}
	suppressed = m.suppressed
	*m = message{last: time.Now()}
	return suppressed, true
}

// redacted is a value of which its type is printed, whatever the verb.
type redacted struct{ value any }

// Format writes the type.
func (r redacted) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "(%T)", r.value) }
