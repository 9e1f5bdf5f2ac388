package sharedcache

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"

	"example.com/podero-facade/server/podero"
	"example.com/podero-facade/server/secret"
)

const (
	// format begins all that names and keys are derived from. With another number nothing that was kept before is
	// found: raise it whenever entries have to be read in another way. Messages have a fingerprint of their own.
	format = "podero-facade shared cache 1"

	namePrefix = "podero-facade:"
	half       = sha256.Size // bytes of a name, and of an AES-256 key
)

// A sealer knows under what name an entry is kept, and with what key it is sealed. Both follow from the client secret,
// so that who has Redis alone can't tell what an entry is of, read it, or make one.
type sealer struct {
	secret secret.Text
	key    []byte // the pseudorandom key of HKDF (RFC 5869)
	realm  string // what else tells one cache from another

	fingerprints sync.Map // of messages, by *podero.Resource
}

func newSealer(from secret.Text, realm string) (*sealer, error) {
	key, err := hkdf.Extract(sha256.New, []byte(from.Reveal()), nil)
	if err != nil {
		return nil, err
	}
	return &sealer{secret: from, key: key, realm: realm}, nil
}

// A place is where the answer of one lookup is kept.
type place struct {
	name string // of a Redis key: an HMAC-SHA-256, for a reader without the client secret no more than a random number
	aead cipher.AEAD
}

// place returns the place of a lookup's answer. Each has a key of its own, so that no number of entries wears one out.
func (s *sealer) place(key podero.Key) (place, error) {
	info := strings.Join([]string{format, s.fingerprint(key.Resource), s.realm, key.Resource.Template, key.OrgID, key.Path}, "\x00")
	both, err := hkdf.Expand(sha256.New, s.key, info, 2*half)
	if err != nil {
		return place{}, err
	}
	block, err := aes.NewCipher(both[half:])
	if err != nil {
		return place{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return place{namePrefix + base64.RawURLEncoding.EncodeToString(both[:half]), aead}, err
}

// fingerprint returns a digest of the schema of a resource's message. A build in which the schema differs
// would lose fields of an entry, or miss them.
func (s *sealer) fingerprint(resource *podero.Resource) string {
	if known, ok := s.fingerprints.Load(resource); ok {
		return known.(string)
	}
	file := protodesc.ToFileDescriptorProto(resource.Message.ProtoReflect().Descriptor().ParentFile())
	// An error, or another order of the bytes in another build, makes misses and nothing worse.
	schema, _ := proto.MarshalOptions{Deterministic: true}.Marshal(file)
	sum := sha256.Sum256(schema)
	fingerprint := string(sum[:])
	s.fingerprints.Store(resource, fingerprint)
	return fingerprint
}

// An entry is an answer of Podero's.
type entry struct {
	asked   time.Time     // by the clock of who asked
	ttl     time.Duration // from then on
	orgID   string
	message proto.Message // nil if there is no such document
}

const (
	kindMissing = iota
	kindMessage
)

// seal returns an entry as Redis may see it.
func (p place) seal(e entry) ([]byte, error) {
	var plain []byte
	for _, number := range []int64{e.asked.UnixMilli(), e.ttl.Milliseconds(), int64(len(e.orgID))} {
		plain = binary.AppendVarint(plain, number)
	}
	plain = append(plain, e.orgID...)
	if e.message == nil {
		plain = append(plain, kindMissing)
	} else {
		var err error
		if plain, err = (proto.MarshalOptions{}).MarshalAppend(append(plain, kindMessage), e.message); err != nil {
			return nil, err
		}
	}
	return p.aead.Seal(nil, nil, plain, []byte(p.name)), nil
}

var errNotOurs = errors.New("an entry is not what this service keeps")

// open returns what was sealed at this place, as the kind of message that the resource has.
func (p place) open(sealed string, resource *podero.Resource) (entry, error) {
	plain, err := p.aead.Open(nil, nil, []byte(sealed), []byte(p.name))
	if err != nil {
		return entry{}, errNotOurs
	}
	var numbers [3]int64
	rest := plain
	for i := range numbers {
		number, size := binary.Varint(rest)
		if size <= 0 {
			return entry{}, errNotOurs
		}
		numbers[i], rest = number, rest[size:]
	}
	length := numbers[2]
	if length < 0 || length >= int64(len(rest)) {
		return entry{}, errNotOurs
	}
	e := entry{asked: time.UnixMilli(numbers[0]), ttl: time.Duration(numbers[1]) * time.Millisecond}
	e.orgID = string(rest[:length])
	kind, document := rest[length], rest[length+1:]
	if kind == kindMessage {
		e.message = resource.Message.ProtoReflect().New().Interface()
		if err := proto.Unmarshal(document, e.message); err != nil {
			return entry{}, errNotOurs
		}
	}
	return e, nil
}
