package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"crony/internal/durable"
)

// SealKey opens what the servers of a cluster share in secret: AES-256-GCM. It prints as nothing that could be used. The zero
// value is no key, and nothing can be done with it.
type SealKey struct {
	key func() []byte // a function, as fmt asks no methods of another struct's unexported field: it prints an address
}

const sealKeySize = 32 // bytes

func sealKey(key []byte) SealKey { return SealKey{func() []byte { return key }} }

// NewSealKey makes a key.
func NewSealKey() SealKey {
	key := make([]byte, sealKeySize)
	rand.Read(key)
	return sealKey(key)
}

// ParseSealKey reads what [SealKey.Hex] returned. The error never repeats it.
func ParseSealKey(text string) (SealKey, error) {
	data, err := hex.DecodeString(strings.TrimSpace(text))
	if err != nil || len(data) != sealKeySize {
		return SealKey{}, fmt.Errorf("the seal key is not %d hexadecimal digits", 2*sealKeySize)
	}
	return sealKey(data), nil
}

// ReadSealKey reads what [SealKey.Save] wrote.
func ReadSealKey(path string) (SealKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return SealKey{}, fmt.Errorf("read the seal key: %w", err)
	}
	k, err := ParseSealKey(string(text))
	if err != nil {
		return k, fmt.Errorf("read %s: %w", path, err)
	}
	return k, nil
}

// Save writes the key to a file of mode 0600 and returns once it is on disk.
func (k SealKey) Save(path string) error {
	if err := durable.WriteFile(path, []byte(k.Hex()+"\n"), 0o600); err != nil {
		return fmt.Errorf("write the seal key: %w", err)
	}
	return nil
}

// Hex returns the key itself.
func (k SealKey) Hex() string { return hex.EncodeToString(k.key()) }

const sealHidden = "(seal key)"

// Format implements [fmt.Formatter], for every verb.
func (k SealKey) Format(f fmt.State, _ rune) { io.WriteString(f, sealHidden) } //nolint:errcheck // of the caller's writer

// LogValue implements [slog.LogValuer].
func (k SealKey) LogValue() slog.Value { return slog.StringValue(sealHidden) }

// MarshalJSON implements [json.Marshaler].
func (k SealKey) MarshalJSON() ([]byte, error) { return json.Marshal(sealHidden) }

// Seal returns plain so that only the key opens it, and only for the same purpose.
func (k SealKey) Seal(plain []byte, purpose string) []byte {
	return k.aead().Seal(nil, nil, plain, []byte(purpose))
}

// Open returns what was sealed for a purpose.
func (k SealKey) Open(sealed []byte, purpose string) ([]byte, error) {
	plain, err := k.aead().Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, errors.New("it is damaged, or sealed by another key")
	}
	return plain, nil
}

func (k SealKey) aead() cipher.AEAD {
	block, err := aes.NewCipher(k.key())
	if err != nil {
		panic(err) // the key has the right length
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // the block has the right size
	}
	return aead
}
