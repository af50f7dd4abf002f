package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"regexp"
	"strconv"

	"github.com/robfig/cron/v3"
)

// hashItem is H, H(a-b), H/n and H(a-b)/n.
var hashItem = regexp.MustCompile(`(?i)^H(?:\(([0-9]{1,2})-([0-9]{1,2})\))?(?:/([0-9]{1,4}))?$`)

// hashed reads an H: it stands for one value, or the phase of a step, that depends on the job's name and the field alone.
func (r reader) hashed(f field, item string) (uint64, bool, error) {
	if item[0] != 'H' && item[0] != 'h' {
		return 0, false, nil
	}
	part := hashItem.FindStringSubmatch(item)
	if part == nil {
		return 0, false, nil
	}
	if r.hash == "" {
		return 0, false, f.refusal("give the job a name", "H is a hash of the job's name, and there is none")
	}
	low, high, step := f.min, f.max, 0
	if part[1] != "" {
		low, _ = strconv.Atoi(part[1])
		high, _ = strconv.Atoi(part[2])
		top := f.max
		if f.option == cron.Dom {
			top = 31
		}
		if low < f.min || high > top || low > high {
			return 0, false, f.refusal(f.hint, "%q is not a range of its values", item)
		}
	}
	span := high - low + 1
	if part[3] != "" {
		step, _ = strconv.Atoi(part[3])
		if step < 1 || step > span {
			return 0, false, f.refusal(fmt.Sprintf("a step of 1 to %d", span), "%q steps over its whole range", item)
		}
		span = step
	}
	v := low + int(hash(r.hash, f.name)%uint64(span))
	set := uint64(1) << v
	for step > 0 && v+step <= high {
		v += step
		set |= 1 << v
	}
	return set, true, nil
}

// hash is the same on every machine and in every version: the first 8 bytes, most significant first, of the SHA-256 of the
// two texts with a zero byte between them.
func hash(a, b string) uint64 {
	buf := make([]byte, 0, 96)
	buf = append(append(append(buf, a...), 0), b...)
	sum := sha256.Sum256(buf)
	return binary.BigEndian.Uint64(sum[:8])
}
