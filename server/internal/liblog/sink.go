package liblog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/go-logr/logr"
)

// maxVerbosity is that of OpenTelemetry's warnings. With more, it logs its whole configuration and all that it exports.
const maxVerbosity = 1

// Sink is a logr.LogSink that writes errors and warnings to a Logger. Create it with NewSink.
type Sink struct{ logger *Logger }

// NewSink returns a Sink.
func NewSink(logger *Logger) Sink { return Sink{logger} }

// Init does nothing.
func (Sink) Init(logr.RuntimeInfo) {}

// Enabled reports whether messages of a verbosity are logged.
func (Sink) Enabled(verbosity int) bool { return verbosity <= maxVerbosity }

// Info logs a warning.
func (s Sink) Info(_ int, message string, keysAndValues ...any) {
	s.logger.write(context.Background(), slog.LevelWarn, message, describe(message, keysAndValues))
}

// Error logs an error.
func (s Sink) Error(err error, message string, keysAndValues ...any) {
	s.logger.write(context.Background(), slog.LevelError, message, describe(message, append([]any{"error", err}, keysAndValues...)))
}

// WithValues returns the same Sink, as values are left out.
func (s Sink) WithValues(...any) logr.LogSink { return s }

// WithName returns the same Sink.
func (s Sink) WithName(string) logr.LogSink { return s }

// describe returns a message with its keys and the types of their values.
func describe(message string, keysAndValues []any) string {
	var b strings.Builder
	b.WriteString(message)
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		fmt.Fprintf(&b, " %v=%v", keysAndValues[i], redacted{keysAndValues[i+1]})
	}
	return b.String()
}
