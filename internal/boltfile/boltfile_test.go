package boltfile

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// write makes a file with trees of every form: flat, three levels deep, kept within an element, empty, with values over many
// pages, and with free pages.
func write(t *testing.T, path string, opts *bbolt.Options) map[string]string {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, opts)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	put := func(bucket, key, value string) {
		t.Helper()
		err := db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(bucket))
			if err != nil {
				return err
			}
			return b.Put([]byte(key), []byte(value))
		})
		if err != nil {
			t.Fatal(err)
		}
		want[bucket+"/"+key] = value
	}
	put("small", "format", "1")
	err = db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.CreateBucket([]byte("empty"))
		if err != nil {
			return err
		}
		for _, name := range []string{"deep", "gone"} {
			b, err := tx.CreateBucket([]byte(name))
			if err != nil {
				return err
			}
			for i := range 130 {
				key, value := fmt.Sprintf("%0200d", i), fmt.Sprint(i)
				if err := b.Put([]byte(key), []byte(value)); err != nil {
					return err
				}
				if name == "deep" {
					want["deep/"+key] = value
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("gone")) }); err != nil {
		t.Fatal(err)
	}
	for i := range 4 {
		put("long", fmt.Sprint(i), string(bytes.Repeat([]byte{byte(i)}, 2500)))
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	return want
}

func open(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f
}

func records(f *File) (map[string]string, []error, error) {
	got, skipped := map[string]string{}, []error(nil)
	err := f.Records(func(bucket string, key, value []byte) error {
		got[bucket+"/"+string(key)] = string(value)
		return nil
	}, func(err error) { skipped = append(skipped, err) })
	return got, skipped, err
}

func TestSound(t *testing.T) {
	for name, opts := range map[string]*bbolt.Options{
		"free pages kept": {FreelistType: bbolt.FreelistMapType},
		"not kept":        {NoFreelistSync: true},
		"small pages":     {PageSize: 1024},
		"large pages":     {PageSize: 64 << 10},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "file")
			want := write(t, path, opts)
			f, err := Read(open(t, path))
			if err != nil {
				t.Fatal(err)
			}
			for _, depth := range []Depth{Branches, Whole} {
				if err := f.Check(depth); err != nil {
					t.Errorf("check %d: %v", depth, err)
				}
			}
			got, skipped, err := records(f)
			if err != nil || len(skipped) > 0 || len(got) != len(want) {
				t.Fatalf("%d records of %d, %v, %v", len(got), len(want), skipped, err)
			}
			for key, value := range want {
				if got[key] != value {
					t.Errorf("%s: %d bytes, want %d", key, len(got[key]), len(value))
				}
			}
			if v, err := f.Value("small", "format"); err != nil || string(v) != "1" {
				t.Errorf("the value is %q, %v", v, err)
			}
			if v, err := f.Value("small", "none"); err != nil || v != nil {
				t.Errorf("the value that is not there is %q, %v", v, err)
			}
			if names, err := f.Buckets(); err != nil || fmt.Sprint(names) != "[deep empty long small]" {
				t.Errorf("the buckets are %q, %v", names, err)
			}
			free, err := f.Free()
			if err != nil || (free < 10_000) != opts.NoFreelistSync || free > f.Size() {
				t.Errorf("%d bytes of %d are free, %v", free, f.Size(), err)
			}
			strays := map[string]string{}
			err = f.Strays(func(key, value []byte) error {
				strays[string(key)] = string(value)
				return nil
			})
			if err != nil {
				t.Error(err)
			}
			for key, value := range want {
				if bucket, key, _ := strings.Cut(key, "/"); bucket == "deep" && strays[key] != value { // the others may be kept within elements
					t.Errorf("stray %s: %d bytes, want %d", key, len(strays[key]), len(value))
				}
			}
			halt := errors.New("halt")
			if err := f.Records(func(string, []byte, []byte) error { return halt }, func(error) {}); !errors.Is(err, halt) {
				t.Errorf("a reading that was stopped ended with %v", err)
			}
		})
	}
}

// TestSoundAfterAll looks through a file between transactions that put, replace and delete whatever they like.
func TestSoundAfterAll(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	random := rand.New(rand.NewPCG(3, 4))
	for range 40 {
		db, err := bbolt.Open(path, 0o600, &bbolt.Options{NoSync: true, NoGrowSync: true, PageSize: 1024})
		if err != nil {
			t.Fatal(err)
		}
		for range 5 {
			err := db.Update(func(tx *bbolt.Tx) error {
				b, err := tx.CreateBucketIfNotExists(fmt.Append(nil, random.IntN(3)))
				if err != nil {
					return err
				}
				from := random.IntN(900)
				for i := range random.IntN(200) {
					key := fmt.Appendf(nil, "%0*d", 4+i%3, from+random.IntN(100))
					if random.IntN(5) < 2 {
						err = b.Put(key, make([]byte, random.IntN(900)))
					} else {
						err = b.Delete(key)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		f, err := Read(open(t, path))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(f.Check(Branches), f.Check(Whole)); err != nil {
			t.Fatal(err)
		}
	}
}

// use has bbolt read and write a file. What it throws is an error, as it is for careful callers.
func use(path string, write bool) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: !write, NoSync: true, NoGrowSync: true, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return err
	}
	read := func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			sum := 0
			return b.ForEach(func(_, v []byte) error {
				for _, c := range v {
					sum += int(c)
				}
				return nil
			})
		})
	}
	if err := db.View(read); err != nil {
		return errors.Join(err, db.Close())
	}
	if write {
		for i := range 8 {
			err := db.Update(func(tx *bbolt.Tx) error {
				return tx.Bucket([]byte("deep")).Put(fmt.Appendf(nil, "%0200d", i), bytes.Repeat([]byte{1}, 1500))
			})
			if err != nil {
				return errors.Join(err, db.Close())
			}
		}
		if err := db.View(read); err != nil {
			return errors.Join(err, db.Close())
		}
	}
	return db.Close()
}

// TestDamage changes a byte here and there, and cuts files short. Nothing may end the process, neither in this package nor in
// a bbolt that is only given what was looked through, and what was looked through whole must be whole after bbolt wrote, too.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "file")
	want := write(t, path, &bbolt.Options{FreelistType: bbolt.FreelistMapType, PageSize: 1024})
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var found, sound, saved, seen int
	try := func(what string, data []byte) {
		t.Helper()
		path := filepath.Join(dir, what) // of its own, as bbolt can leave locks
		defer os.Remove(path)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		f, err := Read(file)
		if err != nil {
			found++
			return
		}
		seen++
		got, skipped, err := records(f)
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		saved += len(got)
		branches, all := f.Check(Branches), f.Check(Whole)
		if all == nil {
			sound++
			if len(skipped) > 0 {
				t.Errorf("%s: sound, and yet %v", what, skipped)
			}
			if err := use(path, true); err != nil {
				t.Errorf("%s: sound, and bbolt says %v", what, err)
			}
			return
		}
		found++
		if branches == nil {
			use(path, false)
		}
	}
	step := 150
	if testing.Short() {
		step = 997
	}
	for at := 0; at < len(whole); at += 1 + random.IntN(2*step) {
		data := bytes.Clone(whole)
		data[at] ^= byte(1 + random.IntN(255))
		try(fmt.Sprintf("byte %d", at), data)
	}
	for at := 0; at < len(whole); at += 16 { // the numbers of pages, where a small change leads elsewhere
		if at%1024 > 128 {
			continue
		}
		data := bytes.Clone(whole)
		data[at+8*random.IntN(2)] ^= byte(1 + random.IntN(15))
		try(fmt.Sprintf("number at %d", at), data)
	}
	for at := 0; at < len(whole); at += 1024 {
		try(fmt.Sprintf("cut at %d", at), whole[:at])
		try(fmt.Sprintf("cut in %d", at), whole[:at+random.IntN(1024)])
	}
	t.Logf("%d damaged, %d as good as sound; of %d that could be read at all, %.1f%% of the records", found, sound, seen,
		100*float64(saved)/float64(seen*len(want)))
	if found == 0 || sound == 0 || float64(saved) < 0.9*float64(seen*len(want)) {
		t.Error("that is not what damage does")
	}
}

// TestCircle has a branch name itself as its child, which bbolt would follow until the stack ends.
func TestCircle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, &bbolt.Options{PageSize: 1024})
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	circles := 0
	for at := 0; at < len(data); at += 1024 {
		if data[at+8] != kindBranch || data[at+9] != 0 {
			continue
		}
		for _, element := range []int{0, 1} {
			bad := bytes.Clone(data)
			copy(bad[at+headerSize+element*elementSize+8:][:8], bad[at:][:8])
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := Read(open(t, path))
			if err != nil {
				t.Fatal(err)
			}
			if f.Check(Branches) != nil {
				circles++
			}
		}
	}
	if circles < 4 {
		t.Errorf("%d circles were found", circles)
	}
}
