package podero

import (
	"errors"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"
)

var errNotTime = errors.New("is not a date and time of RFC 3339 between the years 1 and 9999")

// parseTime reads a date and time as Podero writes it into a stamp: RFC 3339 with 0 to 9 fractional digits, and
// without an offset, which then means UTC. Package time would read more: one digit for the hour, a
// comma before the fraction, offsets of a day, and a finer fraction than it keeps.
func parseTime(s string, stamp *timestamppb.Timestamp) error {
	const seconds = len("2006-01-02T15:04:05")
	if len(s) < seconds || s[4] != '-' || s[7] != '-' || s[10]|0x20 != 't' || s[13] != ':' || s[16] != ':' {
		return errNotTime
	}
	year, month, day := number(s[0:4]), number(s[5:7]), number(s[8:10])
	hour, minute, second := number(s[11:13]), number(s[14:16]), number(s[17:19])
	nanos, rest := fraction(s[seconds:])
	offset := zone(rest)
	if min(year, month, day, hour, minute, second) < 0 || nanos < 0 || hour > 23 || minute > 59 || second > 59 || offset == badZone {
		return errNotTime
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, int(nanos), time.UTC)
	if int(t.Month()) != month || t.Day() != day { // there is no such day: Date went on to the next month
		return errNotTime
	}
	t = t.Add(-offset)
	stamp.Seconds, stamp.Nanos = t.Unix(), nanos
	if stamp.CheckValid() != nil {
		return errNotTime
	}
	return nil
}

// number returns the value of a string of digits, or -1.
func number(s string) int {
	n := 0
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return -1
		}
		n = 10*n + int(s[i]-'0')
	}
	return n
}

// fraction returns the nanoseconds of a fraction at the beginning of s, -1 if it is malformed, and what
// follows it.
func fraction(s string) (nanos int32, rest string) {
	if s == "" || s[0] != '.' {
		return 0, s
	}
	end := 1
	for ; end < len(s) && '0' <= s[end] && s[end] <= '9'; end++ {
		if end > 9 {
			return -1, s
		}
		nanos = 10*nanos + int32(s[end]-'0')
	}
	if end == 1 {
		return -1, s
	}
	for range 10 - end {
		nanos *= 10
	}
	return nanos, s[end:]
}

const badZone = time.Duration(-1)

// zone returns how far an offset such as Z or +02:00 is ahead of UTC. No offset means UTC.
func zone(s string) time.Duration {
	if s == "" || s == "Z" || s == "z" {
		return 0
	}
	if len(s) != len("+00:00") || s[3] != ':' || s[0] != '+' && s[0] != '-' {
		return badZone
	}
	hours, minutes := number(s[1:3]), number(s[4:6])
	if hours < 0 || hours > 23 || minutes < 0 || minutes > 59 {
		return badZone
	}
	ahead := time.Duration(hours)*time.Hour + time.Duration(minutes)*time.Minute
	if s[0] == '-' {
		return -ahead
	}
	return ahead
}
