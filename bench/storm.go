package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	burstDelay    = 500 * time.Millisecond // of the upstream, in a burst
	stormDelay    = time.Second            // in a storm
	stormPatience = 500 * time.Millisecond // of its callers
	stormLimit    = 600 * time.Millisecond // for answers
	stormPace     = time.Second            // how often each caller calls
)

// control asks the upstream for something beside its API.
func control(upstream, path string) (string, error) {
	response, err := http.Get(upstream + path)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: status %d", path, response.StatusCode)
	}
	return string(body), err
}

func delay(upstream string, by time.Duration) error {
	_, err := control(upstream, delayPath+"?"+by.String())
	return err
}

func lookups(upstream string) (int, error) {
	text, err := control(upstream, callsPath)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(text)
}

// burst lets all callers ask for the same user at once, over connections that are there.
func (c *loadCommand) burst(ctx context.Context, callers []caller) (*sample, error) {
	for i, call := range callers[:min(c.Connections, len(callers))] {
		if err := call(ctx, c.ids(i)()); err != nil {
			return nil, err
		}
	}
	if err := delay(c.Upstream, burstDelay); err != nil {
		return nil, err
	}
	before, err := lookups(c.Upstream)
	if err != nil {
		return nil, err
	}
	id := c.ids(0)()
	start := make(chan struct{})
	latencies, failures := make([]time.Duration, len(callers)), make([]error, len(callers))
	var running sync.WaitGroup
	for i, call := range callers {
		running.Go(func() {
			<-start
			begun := time.Now()
			failures[i] = call(ctx, id)
			latencies[i] = time.Since(begun)
		})
	}
	close(start)
	running.Wait()
	after, err := lookups(c.Upstream)
	if err = errors.Join(append(failures, err, delay(c.Upstream, 0))...); err != nil {
		return nil, err
	}
	seen := &sample{Upstream: after - before}
	seen.summarize(latencies)
	return seen, nil
}

// storm lets callers with little time call while the upstream is slow, and sees how they fare once it is well again.
func (c *loadCommand) storm(ctx context.Context, callers []caller) (*sample, error) {
	if err := delay(c.Upstream, stormDelay); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	begun := time.Now()
	recovery, end := begun.Add(c.Time), begun.Add(c.Time+time.Second)
	var after, succeeded atomic.Int64
	latencies := make([][]time.Duration, len(callers))
	var running sync.WaitGroup
	for i, call := range callers {
		running.Go(func() {
			next := c.ids(i)
			for at := begun.Add(stormPace * time.Duration(i) / time.Duration(len(callers))); at.Before(end) && wait(ctx, time.Until(at)); at = at.Add(stormPace) {
				took, err := impatient(ctx, call, next())
				switch code := status.Code(err); code {
				case codes.OK, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Unavailable:
					latencies[i] = append(latencies[i], took)
				default: // an answer that is wrong
					cancel(err)
					return
				}
				if !at.Before(recovery) {
					after.Add(1)
					if err == nil {
						succeeded.Add(1)
					}
				}
			}
		})
	}
	wait(ctx, time.Until(recovery))
	err := delay(c.Upstream, 0)
	running.Wait()
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return nil, err
	}
	seen := &sample{Time: c.Time, Recovered: float64(succeeded.Load()) / float64(max(after.Load(), 1))}
	for _, took := range slices.Concat(latencies...) {
		if took <= stormLimit {
			seen.InTime++
		}
	}
	seen.summarize(slices.Concat(latencies...))
	seen.InTime /= float64(max(seen.Requests, 1))
	return seen, nil
}

func impatient(ctx context.Context, call caller, id string) (time.Duration, error) {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(ctx, stormPatience)
	defer cancel()
	err := call(ctx, id)
	return time.Since(begun), err
}
