package backup

import (
	"fmt"
	"strings"

	"filippo.io/age"

	"crony"
)

const (
	keyPrefix       = "AGE-SECRET-KEY-1"
	recipientPrefix = "age1"
)

// NewKey makes a recovery key, and the recipient for which archives are sealed so that this key opens them. Both are texts
// in age's form.
func NewKey() (key, recipient string, err error) {
	identity, err := age.GenerateX25519Identity()
	if err != nil {
		return "", "", fmt.Errorf("make a recovery key: %w", err)
	}
	return identity.String(), identity.Recipient().String(), nil
}

// ParseKey reads a recovery key as NewKey made it, or a file that holds one, as age-keygen writes it: empty lines and those
// that begin with # don't count. It returns the key alone. The error is Invalid and never repeats the text, which is a
// secret.
func ParseKey(text string) (string, error) {
	var found []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			found = append(found, line)
		}
	}
	switch {
	case len(found) == 0:
		return "", crony.Errorf(crony.Invalid, "there is no recovery key").
			WithHint("a recovery key is one line that begins with %s", keyPrefix)
	case len(found) > 1:
		return "", crony.Errorf(crony.Invalid, "this is more than one recovery key").
			WithHint("give one line that begins with %s", keyPrefix)
	case strings.HasPrefix(found[0], recipientPrefix):
		return "", crony.Errorf(crony.Invalid,
			"this is a recipient, for which archives are sealed, and not the key that opens them").
			WithHint("a recovery key begins with %s", keyPrefix)
	}
	identity, err := age.ParseX25519Identity(found[0])
	if err != nil {
		return "", crony.Errorf(crony.Invalid, "this is not a recovery key").
			WithHint("it begins with %s and has 74 characters; one that is wrong or missing makes it useless", keyPrefix)
	}
	return identity.String(), nil
}

// ParseRecipient reads a recipient as NewKey made it, or age-keygen. The error is Invalid, and does not repeat a text that
// could be a secret.
func ParseRecipient(text string) (string, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(strings.ToUpper(text), "AGE-SECRET-KEY-") {
		return "", crony.Errorf(crony.Invalid,
			"this is a recovery key, which opens archives, and not a recipient, for which they are sealed").
			WithHint("a recipient begins with %s; keep the key away from servers, and make another if it was shown", recipientPrefix)
	}
	recipient, err := age.ParseX25519Recipient(text)
	if err != nil {
		return "", crony.Errorf(crony.Invalid, "%.80q is not a recipient of backups", text).
			WithHint("a recipient begins with %s and has 62 characters; age's other kinds are not taken", recipientPrefix)
	}
	return recipient.String(), nil
}

// parseRecipients returns the recipients as age knows them, each once.
func parseRecipients(texts []string) ([]age.Recipient, error) {
	if len(texts) == 0 {
		return nil, crony.Errorf(crony.Invalid, "a backup needs somebody to be sealed for, and no recipient is set").
			WithHint("give the public half of the recovery key: a text that begins with %s", recipientPrefix)
	}
	var recipients []age.Recipient
	seen := map[string]bool{}
	for _, text := range texts {
		text, err := ParseRecipient(text)
		if err != nil {
			return nil, err
		}
		if seen[text] {
			continue
		}
		seen[text] = true
		recipient, err := age.ParseX25519Recipient(text)
		if err != nil {
			return nil, fmt.Errorf("read recipient %s: %w", text, err)
		}
		recipients = append(recipients, recipient)
	}
	return recipients, nil
}
