//go:build chaos

package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	reflectionv1 "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/proto"

	userv1 "example.com/podero-facade/gen/podero/user/v1"
)

const (
	attackerHost = "127.0.0.2"
	crowdHost    = "127.0.0.3"
	window       = 65535 // of a stream, at first
)

// flood is what an attacker does with some of the streams of a connection.
type flood struct {
	name    string
	streams int  // at a time, on each connection
	cancel  bool // soon, again and again
	begin   func(a *attacker, id uint32) error
}

// attacker is an HTTP/2 connection that keeps streams open and never widens a window.
type attacker struct {
	conn   net.Conn
	framer *http2.Framer
	next   uint32

	mu   sync.Mutex // guards writing, next and open
	open map[uint32]string
}

// attack keeps a connection busy until ctx ends, and counts streams that it began.
func attack(ctx context.Context, address string, floods []flood, begun *atomic.Int64) {
	for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		a, err := newAttacker(ctx, address)
		if err != nil {
			continue
		}
		var reading sync.WaitGroup
		reading.Go(a.read)
		for ; err == nil && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			for _, f := range floods {
				if err == nil {
					err = a.fill(f, begun)
				}
			}
		}
		_ = a.conn.Close()
		reading.Wait()
	}
}

func newAttacker(ctx context.Context, address string) (*attacker, error) {
	conn, err := dialFrom(ctx, attackerHost, address)
	if err != nil {
		return nil, err
	}
	return &attacker{conn: conn, framer: http2.NewFramer(conn, conn), next: 1, open: map[uint32]string{}}, nil
}

// dialFrom opens a connection from an address, and begins HTTP/2 on it.
func dialFrom(ctx context.Context, host, address string) (net.Conn, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(host)}, Timeout: time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Minute))
	_, _ = conn.Write([]byte(http2.ClientPreface))
	return conn, http2.NewFramer(conn, conn).WriteSettings()
}

// read acknowledges what has to be, and forgets streams that the service ends.
func (a *attacker) read() {
	for {
		frame, err := a.framer.ReadFrame()
		if err != nil {
			_ = a.conn.Close()
			return
		}
		a.mu.Lock()
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = a.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = a.framer.WritePing(true, frame.Data)
			}
		case *http2.RSTStreamFrame:
			delete(a.open, frame.StreamID)
		case *http2.HeadersFrame:
			if frame.StreamEnded() {
				delete(a.open, frame.StreamID)
			}
		}
		a.mu.Unlock()
	}
}

// fill begins streams until there are as many as the flood wants.
func (a *attacker) fill(f flood, begun *atomic.Int64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	open := 0
	for _, name := range a.open {
		if name == f.name {
			open++
		}
	}
	for ; open < f.streams; open++ {
		id := a.next
		a.next += 2
		begun.Add(1)
		if err := f.begin(a, id); err != nil {
			return err
		}
		if !f.cancel {
			a.open[id] = f.name
		} else if err := a.framer.WriteRSTStream(id, http2.ErrCodeCancel); err != nil {
			return err
		}
	}
	return nil
}

// headers sends the headers of a call and more, which are encoded already.
func (a *attacker) headers(id uint32, method string, more []byte) error {
	block := encode([]hpack.HeaderField{
		{Name: ":method", Value: "POST"}, {Name: ":scheme", Value: "http"}, {Name: ":path", Value: method},
		{Name: ":authority", Value: "podero-facade.test"}, {Name: "content-type", Value: "application/grpc"}, {Name: "te", Value: "trailers"},
	})
	block = append(block, more...)
	part := block[:min(len(block), 16<<10)]
	block = block[len(part):]
	err := a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: part, EndHeaders: len(block) == 0})
	for err == nil && len(block) > 0 {
		part, block = block[:min(len(block), 16<<10)], block[min(len(block), 16<<10):]
		err = a.framer.WriteContinuation(id, len(block) == 0, part)
	}
	return err
}

// body sends the beginning of a message in frames of some size.
func (a *attacker) body(id, announced uint32, sent, frame int) error {
	body := make([]byte, 5+sent)
	binary.BigEndian.PutUint32(body[1:], announced)
	for len(body) > 0 {
		part := body[:min(len(body), frame)]
		if err := a.framer.WriteData(id, false, part); err != nil {
			return err
		}
		body = body[len(part):]
	}
	return nil
}

// encode encodes headers so that they do not depend on those before.
func encode(fields []hpack.HeaderField) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range fields {
		field.Sensitive = true
		_ = encoder.WriteField(field) // a buffer never fails
	}
	return block.Bytes()
}

// metadata returns as many headers as fit into a size that is counted as HTTP/2 does.
func metadata(size int, value string) []byte {
	var fields []hpack.HeaderField
	for i := 0; ; i++ {
		field := hpack.HeaderField{Name: fmt.Sprintf("x%d", i), Value: value}
		if size -= int(field.Size()); size < 0 {
			return encode(fields)
		}
		fields = append(fields, field)
	}
}

// askForFiles asks for the largest of the files, as often as a window takes it.
func askForFiles(a *attacker, id uint32) error {
	if err := a.headers(id, reflectionv1.ServerReflection_ServerReflectionInfo_FullMethodName, nil); err != nil {
		return err
	}
	message, err := proto.Marshal(&reflectionv1.ServerReflectionRequest{MessageRequest: &reflectionv1.ServerReflectionRequest_FileContainingSymbol{
		FileContainingSymbol: userv1.UserService_ServiceDesc.ServiceName,
	}})
	if err != nil {
		return err
	}
	request := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(min(len(message), window))), message...)
	all := bytes.Repeat(request, window/len(request))
	for ; err == nil && len(all) > 0; all = all[min(len(all), 16<<10):] {
		err = a.framer.WriteData(id, false, all[:min(len(all), 16<<10)])
	}
	return err
}

// crowd opens connections and keeps them until ctx ends.
func crowd(ctx context.Context, address string, connections int) {
	var open []net.Conn
	for ctx.Err() == nil && len(open) < connections {
		if conn, err := dialFrom(ctx, crowdHost, address); err == nil || conn != nil {
			open = append(open, conn)
		}
	}
	<-ctx.Done()
	for _, conn := range open {
		_ = conn.Close()
	}
}
