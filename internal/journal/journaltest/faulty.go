package journaltest

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/millwright/millwright/internal/journal"
)

// Op is a kind of operation that can fail.
type Op int

// The operations that Faulty lets fail.
const (
	Create Op = iota
	Write
	Sync
	SyncDir
	Rename
	Remove
)

// ErrIO is what a failing operation returns unless a script says otherwise. A write that is
// to fail with io.ErrShortWrite returns that it wrote less, and no error.
var ErrIO = errors.New("input/output error")

// Faulty lets operations of another file system fail, by chance or as a script says, and bounds its size.
// A write that fails may have written the first part. After a Sync that fails, what
// was written since the last good one is lost: a file of Forgetful still shows it, as a
// page cache would, of another file system the old content is put back.
type Faulty struct {
	journal.FS

	mu       sync.Mutex
	rand     *rand.Rand
	rates    map[Op]float64
	script   map[Op][]error
	capacity int64 // negative: unbounded
	used     int64
	sizes    map[string]*int64
	failed   map[Op]int
}

// NewFaulty wraps a file system, of which it counts as used what is written through it.
func NewFaulty(under journal.FS, seed uint64) *Faulty {
	return &Faulty{
		FS: under, rand: rand.New(rand.NewPCG(seed, 2)), rates: map[Op]float64{}, script: map[Op][]error{},
		capacity: -1, sizes: map[string]*int64{}, failed: map[Op]int{},
	}
}

// Rate lets that share of the operations fail from now on, from 0 to 1.
func (f *Faulty) Rate(op Op, share float64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rates[op] = share
}

// Script lets the next operations of that kind return the errors, before chance has its say; nil succeeds.
func (f *Faulty) Script(op Op, errs ...error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script[op] = append(f.script[op], errs...)
}

// Capacity bounds the bytes of all files; beyond it writes fail with ENOSPC, after what fits. Negative: unbounded.
func (f *Faulty) Capacity(bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.capacity = bytes
}

// Used returns the bytes of all files.
func (f *Faulty) Used() int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.used
}

// Failed returns how many operations of that kind were made to fail.
func (f *Faulty) Failed(op Op) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.failed[op]
}

// fails returns the error that the operation is to end with.
func (f *Faulty) fails(op Op) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var err error
	if s := f.script[op]; len(s) > 0 {
		err, f.script[op] = s[0], s[1:]
	} else if f.rates[op] > 0 && f.rand.Float64() < f.rates[op] {
		err = ErrIO
		if op == Write && f.rand.IntN(2) == 0 {
			err = io.ErrShortWrite
		}
	}
	if err != nil {
		f.failed[op]++
	}
	return err
}

// intn returns a number below n by chance.
func (f *Faulty) intn(n int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rand.IntN(n)
}

// grow makes the file as large as size, or as the capacity lets it be, which it returns.
func (f *Faulty) grow(file *int64, size int64) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	more := size - *file
	if more <= 0 {
		return size, nil
	}
	var err error
	if f.capacity >= 0 && f.used+more > f.capacity {
		more, err = max(0, f.capacity-f.used), syscall.ENOSPC
	}
	*file += more
	f.used += more
	return *file, err
}

// resize notes a file's size.
func (f *Faulty) resize(file *int64, size int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used += size - *file
	*file = size
}

// sizeOf returns where the size of a file of that name is kept.
func (f *Faulty) sizeOf(name string) *int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.sizes[name] == nil {
		f.sizes[name] = new(int64)
	}
	return f.sizes[name]
}

// move notes a file's new name; "" is none.
func (f *Faulty) move(from, to string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	moved := f.sizes[from]
	delete(f.sizes, from)
	gone := f.sizes[to]
	if to == "" {
		gone = moved
	} else {
		f.sizes[to] = moved
	}
	if gone != nil {
		f.used -= *gone
		*gone = 0
	}
}

// Create implements journal.FS.
func (f *Faulty) Create(name string) (journal.File, error) {
	if err := f.fails(Create); err != nil {
		return nil, err
	}
	under, err := f.FS.Create(name)
	if err != nil {
		return nil, err
	}
	return &faultyFile{File: under, fs: f, size: f.sizeOf(name)}, nil
}

// Open implements journal.FS.
func (f *Faulty) Open(name string) (journal.File, error) {
	under, err := f.FS.Open(name)
	if err != nil {
		return nil, err
	}
	size, err := under.Size()
	if err != nil {
		return nil, errors.Join(err, under.Close())
	}
	h := &faultyFile{File: under, fs: f, size: f.sizeOf(name), synced: size}
	f.resize(h.size, size)
	return h, nil
}

// Rename implements journal.FS.
func (f *Faulty) Rename(from, to string) error {
	if err := f.fails(Rename); err != nil {
		return err
	}
	if err := f.FS.Rename(from, to); err != nil {
		return err
	}
	f.sizeOf(from)
	f.move(from, to)
	return nil
}

// Remove implements journal.FS.
func (f *Faulty) Remove(name string) error {
	if err := f.fails(Remove); err != nil {
		return err
	}
	if err := f.FS.Remove(name); err != nil {
		return err
	}
	f.move(name, "")
	return nil
}

// SyncDir implements journal.FS.
func (f *Faulty) SyncDir(name string) error {
	if err := f.fails(SyncDir); err != nil {
		return err
	}
	return f.FS.SyncDir(name)
}

// Free implements journal.FS.
func (f *Faulty) Free(dir string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.capacity < 0 {
		return f.FS.Free(dir)
	}
	return max(0, f.capacity-f.used), nil
}

type faultyFile struct {
	journal.File
	fs   *Faulty
	size *int64 // guarded by fs

	mu     sync.Mutex
	synced int64   // size at the last good sync
	undo   []write // puts back what was written since, the last one first
}

// dropper is a file that can itself forget what was not synced.
type dropper interface{ Drop(*rand.Rand) }

func (h *faultyFile) WriteAt(p []byte, at int64) (int, error) {
	n, err := len(p), h.fs.fails(Write)
	if err != nil && n > 0 {
		n = h.fs.intn(n)
	}
	size, full := h.fs.grow(h.size, at+int64(n))
	if full != nil {
		n, err = int(max(0, min(int64(n), size-at))), full
	}
	if e := h.remember(at, n); e != nil {
		return 0, e
	}
	written, e := h.File.WriteAt(p[:n], at)
	switch {
	case e != nil:
		return written, e
	case errors.Is(err, io.ErrShortWrite): // and not a word
		return written, nil
	}
	return written, err
}

// remember keeps what lies where n bytes are to be written.
func (h *faultyFile) remember(at int64, n int) error {
	if _, ok := h.File.(dropper); ok {
		return nil
	}
	old := make([]byte, n)
	if _, err := h.ReadAt(old, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.undo = append(h.undo, write{at, old})
	return nil
}

func (h *faultyFile) Sync() error {
	err := h.fs.fails(Sync)
	if err == nil {
		err = h.File.Sync()
	} else {
		err = errors.Join(err, h.drop())
	}
	if err != nil {
		return err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.undo = h.undo[:0]
	h.synced, err = h.Size()
	return err
}

func (h *faultyFile) drop() error {
	h.fs.mu.Lock()
	r := rand.New(rand.NewPCG(h.fs.rand.Uint64(), 3))
	h.fs.mu.Unlock()
	if d, ok := h.File.(dropper); ok {
		d.Drop(r)
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.undo) - 1; i >= 0; i-- {
		if _, err := h.File.WriteAt(h.undo[i].data, h.undo[i].at); err != nil {
			return err
		}
	}
	h.undo = h.undo[:0]
	return h.File.Truncate(h.synced)
}

func (h *faultyFile) Truncate(size int64) error {
	if err := h.File.Truncate(size); err != nil {
		return err
	}
	h.mu.Lock()
	h.synced = min(h.synced, size)
	h.mu.Unlock()
	h.fs.resize(h.size, size)
	return nil
}

func (h *faultyFile) Allocate(size int64) error {
	before, err := h.Size()
	if err != nil {
		return err
	}
	if _, err := h.fs.grow(h.size, size); err != nil {
		h.fs.resize(h.size, before)
		return err
	}
	return h.File.Allocate(size)
}
