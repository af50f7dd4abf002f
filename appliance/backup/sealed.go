package backup

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"

	"crony"
)

// ageMagic begins what age has sealed.
const ageMagic = "age-encryption.org/v1\n"

// sealedChunk is the size of age's pieces, each of which has a seal of its own.
const sealedChunk = 64<<10 + 16

// sealed is an archive that is being opened: the layers around its tar.
type sealed struct {
	source tap // as the archive was given
	plain  tap // as age has opened it
	zstd   *zstd.Decoder
}

// openSealed takes the layers off. Close is to be called if there is no error.
func openSealed(r io.Reader, key string) (*sealed, error) {
	key, err := ParseKey(key)
	if err != nil {
		return nil, err
	}
	identity, err := age.ParseX25519Identity(key)
	if err != nil {
		return nil, fmt.Errorf("read the recovery key: %w", err)
	}
	s := &sealed{source: tap{r: r}}
	start := bufio.NewReader(&s.source)
	first, _ := start.Peek(sniffed) // an error comes again
	if s.source.failed() {
		return nil, s.fault(s.source.err)
	}
	if !bytes.HasPrefix(first, []byte(ageMagic)) {
		return nil, noArchive(first)
	}
	opened, err := age.Decrypt(start, identity)
	if err != nil {
		return nil, s.locked(err)
	}
	s.plain.r = opened
	s.zstd, err = zstd.NewReader(&s.plain, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, s.fault(err)
	}
	return s, nil
}

func (s *sealed) close() { s.zstd.Close() }

// locked says why age did not open the archive.
func (s *sealed) locked(err error) error {
	wrong, ok := errors.AsType[*age.NoIdentityMatchError](err)
	switch {
	case s.source.failed():
		return s.fault(err)
	case ok && slices.Contains(wrong.StanzaTypes, "X25519"):
		return &crony.Error{Code: crony.Forbidden, Message: "this key does not open the archive", Err: err,
			Hint: "it is sealed for another recovery key, or damaged where it says for whom it is sealed"}
	case ok:
		return &crony.Error{Code: crony.Invalid, Err: err,
			Message: "this is not a backup of crony: it is sealed by age, but in another way",
			Hint:    "a passphrase or a kind of key that crony does not use opens it"}
	case s.source.ended():
		return damaged(err, "the archive is cut short, or damaged: it ends after %d bytes, before its contents begin", s.source.n)
	}
	return damaged(err, "the archive is damaged in its first %d bytes", s.source.n)
}

// fault says what it means that reading what is in the archive has failed with err.
func (s *sealed) fault(err error) error {
	switch {
	case s.source.failed():
		return fmt.Errorf("read the archive: %w", s.source.err)
	case !s.plain.failed():
		return malformed("%v", err)
	case errors.Is(s.plain.err, io.ErrUnexpectedEOF):
		return damaged(err, "the archive is cut short: it ends after %d bytes", s.source.n)
	case s.source.ended():
		return damaged(err, "the archive is cut short, or damaged in its last bytes: it ends after %d bytes", s.source.n)
	}
	return damaged(err, "the archive is damaged: something between its bytes %d and %d was changed",
		max(0, s.source.n-sealedChunk-sniffed), s.source.n)
}

// end looks whether the archive ends where its tar does.
func (s *sealed) end() error {
	extra, err := io.Copy(io.Discard, io.LimitReader(s.zstd, 1))
	if err != nil {
		return s.fault(err)
	}
	if extra > 0 {
		return malformed("something follows its end")
	}
	if _, err := io.ReadFull(&s.plain, make([]byte, 1)); err != io.EOF {
		return s.fault(errors.Join(err, errors.New("something follows its end")))
	}
	return nil
}

func damaged(err error, format string, args ...any) error {
	return &crony.Error{Code: crony.Invalid, Message: fmt.Sprintf(format, args...), Err: err,
		Hint: "nothing in it can be trusted to be whole; take another copy of it, or an earlier backup"}
}

// malformed is the error for an archive that the key opens, and that is as it was written, but not by this package's rules.
func malformed(format string, args ...any) error {
	return crony.Errorf(crony.Invalid, "what is sealed in this file is not a backup as crony makes them: "+format, args...)
}
