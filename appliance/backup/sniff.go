package backup

import (
	"bytes"
	"unicode/utf8"

	"crony"
)

// sniffed is how many bytes at the beginning of a file are looked at to tell what it is.
const sniffed = 512

// look is what a kind of file is known by.
type look struct {
	at    int
	magic string
	is    string
	hint  string
}

func looks() []look {
	const notSealed = "an archive of `crony backup create` is sealed by age; it is not unpacked before it is restored"
	return []look{
		{0, "-----BEGIN AGE ENCRYPTED FILE-----", "a file that age has sealed, as text",
			"crony's archives are binary; give the file as it was written"},
		{0, keyPrefix, "a recovery key", "name the archive first, and the key with --key-file"},
		{0, "# created:", "a key file of age-keygen", "name the archive first, and the key with --key-file"},
		{16, boltMagicLittle, "a database of bbolt, such as a snapshot of etcd or a day of the run log", notSealed},
		{16, boltMagicBig, "a database of bbolt, such as a snapshot of etcd or a day of the run log", notSealed},
		{257, "ustar", "a tar that is not sealed", notSealed},
		{0, "\x28\xb5\x2f\xfd", "a file of zstd that is not sealed", notSealed},
		{0, "\x1f\x8b", "a file of gzip", ""},
		{0, "PK\x03\x04", "a ZIP file", ""},
		{0, "SQLite format 3\x00", "a database of SQLite", ""},
		{0, "-----BEGIN ", "a certificate or a key as PEM", ""},
		{0, "<", "a web page", "if it was downloaded, it may be the page of an error"},
		{0, "{", "a JSON document", "if it was downloaded, it may be the answer of an error"},
	}
}

// noArchive is the error for a file that begins so.
func noArchive(first []byte) error {
	if len(first) == 0 {
		return crony.Errorf(crony.Invalid, "this is not a backup of crony: it is empty")
	}
	if len(first) < len(ageMagic) && bytes.HasPrefix([]byte(ageMagic), first) {
		return damaged(nil, "the archive is cut short: it ends after %d bytes", len(first))
	}
	is, hint := "something else", ""
	if utf8.Valid(first) && !bytes.ContainsRune(first, 0) {
		is = "a text"
	}
	trimmed := bytes.TrimLeft(first, " \t\r\n")
	for _, l := range looks() {
		text := first
		if l.at == 0 {
			text = trimmed
		}
		if len(text) >= l.at && bytes.HasPrefix(text[l.at:], []byte(l.magic)) {
			is, hint = l.is, l.hint
			break
		}
	}
	return crony.Errorf(crony.Invalid, "this is not a backup of crony: it looks like %s", is).WithHint("%s", hint)
}
