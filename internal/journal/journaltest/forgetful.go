// Package journaltest has file systems that fail as real ones do: Forgetful loses at a crash
// what was not synced, Faulty cuts writes short, fills up and fails to sync.
package journaltest

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/millwright/millwright/internal/journal"
)

// ErrCrashed is what every operation returns after the crash.
var ErrCrashed = errors.New("the power has failed")

// Forgetful is a file system in memory that knows of each file and each directory entry what is on
// disk: a write is after a Sync of the file, and a name, made, changed or removed, after a SyncDir of its
// directory, which a directory's own name is too. The root is always there.
type Forgetful struct {
	mu      sync.Mutex
	dirs    map[string]*dir
	ops     int
	crashAt int // the operation that fails, and all after it; 0: none
	crashed chan struct{}
}

// dir is what a directory shows and what of it is on disk.
type dir struct {
	visible, durable map[string]*node
	changes          []change // of visible, not in durable
}

// change is a name that was bound to a node, or with nil removed, and a name that was
// given up for it in the same step.
type change struct {
	name, from string
	node       *node
}

// node is a file (sub is nil) or a directory.
type node struct {
	sub              *dir
	visible, durable []byte
	writes           []write // of visible, not in durable
}

// write is bytes written, or with data nil the file cut off.
type write struct {
	at   int64
	data []byte
}

// NewForgetful returns an empty file system.
func NewForgetful() *Forgetful {
	return &Forgetful{dirs: map[string]*dir{"/": newDir()}, crashed: make(chan struct{})}
}

func newDir() *dir { return &dir{visible: map[string]*node{}, durable: map[string]*node{}} }

// CrashAt lets the power fail at the n-th operation from now that changes or syncs something.
func (f *Forgetful) CrashAt(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crashAt = f.ops + n
}

// Ops returns how many operations there were that change or sync something.
func (f *Forgetful) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// Crashed is closed when the power has failed.
func (f *Forgetful) Crashed() <-chan struct{} { return f.crashed }

// Crash lets the power fail, if it has not, and returns the file system as it is found
// afterwards. Of what was not synced nothing is left, or, for other seeds, some names and some writes, whole or torn.
func (f *Forgetful) Crash(seed uint64) *Forgetful {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash()
	r := rand.New(rand.NewPCG(seed, 1))
	after := NewForgetful()
	luck := []float64{0, 0.5, 0.9, 1}[r.IntN(4)]
	after.adopt("/", f.dirs["/"].survive(r, luck))
	return after
}

// Restart returns the file system as another process finds it after the one that used it
// ended: what was not synced is visible, and still not on disk.
func (f *Forgetful) Restart() *Forgetful {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.crash()
	after := NewForgetful()
	after.dirs = f.dirs
	return after
}

func (f *Forgetful) crash() {
	select {
	case <-f.crashed:
	default:
		close(f.crashed)
	}
}

// adopt makes d and the directories below known by their paths.
func (f *Forgetful) adopt(path string, d *dir) {
	f.dirs[path] = d
	for name, n := range d.visible {
		if n.sub != nil {
			f.adopt(filepath.Join(path, name), n.sub)
		}
	}
}

// survive returns the directory with what is left of it.
func (d *dir) survive(r *rand.Rand, luck float64) *dir {
	left := newDir()
	for name, n := range d.durable {
		left.durable[name] = n
	}
	for _, c := range d.changes {
		if r.Float64() < luck {
			c.apply(left.durable)
		}
	}
	for _, name := range slices.Sorted(keys(left.durable)) {
		n := left.durable[name].survive(r, luck)
		left.durable[name], left.visible[name] = n, n
	}
	return left
}

func keys(m map[string]*node) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func (c change) apply(names map[string]*node) {
	if c.from != "" {
		delete(names, c.from)
	}
	if c.node == nil {
		delete(names, c.name)
	} else {
		names[c.name] = c.node
	}
}

func (n *node) survive(r *rand.Rand, luck float64) *node {
	if n.sub != nil {
		return &node{sub: n.sub.survive(r, luck)}
	}
	left := &node{durable: slices.Clone(n.durable)}
	for _, w := range n.writes {
		if r.Float64() < luck {
			left.durable = w.torn(r, luck).apply(left.durable)
		}
	}
	left.visible = slices.Clone(left.durable)
	return left
}

// torn returns the write, or for most kinds of luck a part of it.
func (w write) torn(r *rand.Rand, luck float64) write {
	if luck == 1 || w.data == nil || len(w.data) == 0 || r.IntN(3) == 0 {
		return w
	}
	from, to := 0, r.IntN(len(w.data)+1)
	if r.IntN(2) == 0 {
		from = r.IntN(to + 1)
	}
	return write{w.at + int64(from), w.data[from:to]}
}

func (w write) apply(content []byte) []byte {
	if w.data == nil {
		return resize(content, w.at)
	}
	if len(w.data) == 0 {
		return content
	}
	if end := w.at + int64(len(w.data)); end > int64(len(content)) {
		content = resize(content, end)
	}
	copy(content[w.at:], w.data)
	return content
}

// resize cuts content off or fills it up with zeros.
func resize(content []byte, size int64) []byte {
	if size <= int64(len(content)) {
		return content[:size]
	}
	n := len(content)
	content = slices.Grow(content, int(size)-n)[:size]
	clear(content[n:])
	return content
}

// begin counts an operation that changes or syncs something.
func (f *Forgetful) begin() error {
	if err := f.alive(); err != nil {
		return err
	}
	f.ops++
	if f.crashAt > 0 && f.ops >= f.crashAt {
		f.crash()
	}
	return nil
}

func (f *Forgetful) alive() error {
	select {
	case <-f.crashed:
		return ErrCrashed
	default:
		return nil
	}
}

func (f *Forgetful) parent(name string) (*dir, string, error) {
	name = absolute(name)
	d := f.dirs[filepath.ToSlash(filepath.Dir(name))]
	if d == nil {
		return nil, "", &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
	}
	return d, filepath.Base(name), nil
}

func absolute(name string) string { return filepath.ToSlash(filepath.Join("/", name)) }

// change applies c to what is visible. If the power fails with it, it may yet be on disk.
func (f *Forgetful) change(d *dir, c change) error {
	if err := f.begin(); err != nil {
		return err
	}
	c.apply(d.visible)
	d.changes = append(d.changes, c)
	return f.alive()
}

// MkdirAll implements journal.FS.
func (f *Forgetful) MkdirAll(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := "/"
	for part := range strings.SplitSeq(strings.Trim(absolute(name), "/"), "/") {
		above := f.dirs[path]
		path = absolute(path + "/" + part)
		if part == "" || f.dirs[path] != nil {
			continue
		}
		n := &node{sub: newDir()}
		f.dirs[path] = n.sub
		if err := f.change(above, change{name: part, node: n}); err != nil {
			return err
		}
	}
	return f.alive()
}

// List implements journal.FS.
func (f *Forgetful) List(name string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.dirs[absolute(name)]
	if d == nil {
		return nil, &fs.PathError{Op: "list", Path: name, Err: fs.ErrNotExist}
	}
	names := []string{}
	for name, n := range d.visible {
		if n.sub == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, f.alive()
}

// Create implements journal.FS.
func (f *Forgetful) Create(name string) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, base, err := f.parent(name)
	if err != nil {
		return nil, err
	}
	if d.visible[base] != nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	n := &node{}
	if err := f.change(d, change{name: base, node: n}); err != nil {
		return nil, err
	}
	return &file{fs: f, node: n}, nil
}

// Open implements journal.FS.
func (f *Forgetful) Open(name string) (journal.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, base, err := f.parent(name)
	if err != nil {
		return nil, err
	}
	n := d.visible[base]
	if n == nil || n.sub != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return &file{fs: f, node: n}, f.alive()
}

// Rename implements journal.FS.
func (f *Forgetful) Rename(from, to string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, base, err := f.parent(from)
	if err != nil {
		return err
	}
	if absolute(filepath.Dir(from)) != absolute(filepath.Dir(to)) {
		return fmt.Errorf("cannot move %q to another directory", from)
	}
	n := d.visible[base]
	if n == nil {
		return &fs.PathError{Op: "rename", Path: from, Err: fs.ErrNotExist}
	}
	return f.change(d, change{name: filepath.Base(to), from: base, node: n})
}

// Remove implements journal.FS.
func (f *Forgetful) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, base, err := f.parent(name)
	if err != nil {
		return err
	}
	if d.visible[base] == nil {
		return &fs.PathError{Op: "remove", Path: name, Err: fs.ErrNotExist}
	}
	return f.change(d, change{name: base})
}

// SyncDir implements journal.FS.
func (f *Forgetful) SyncDir(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	d := f.dirs[absolute(name)]
	if d == nil {
		return &fs.PathError{Op: "sync", Path: name, Err: fs.ErrNotExist}
	}
	if err := errors.Join(f.begin(), f.alive()); err != nil {
		return err
	}
	for _, c := range d.changes {
		c.apply(d.durable)
	}
	d.changes = nil
	return nil
}

// Free implements journal.FS: there is always room.
func (f *Forgetful) Free(string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 1 << 50, f.alive()
}

type file struct {
	fs   *Forgetful
	node *node
}

func (h *file) ReadAt(p []byte, at int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.alive(); err != nil {
		return 0, err
	}
	if at >= int64(len(h.node.visible)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.visible[at:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) WriteAt(p []byte, at int64) (int, error) {
	return len(p), h.change(write{at, append([]byte{}, p...)})
}

func (h *file) Truncate(size int64) error { return h.change(write{at: size}) }

func (h *file) Allocate(size int64) error {
	n, err := h.Size()
	if err != nil || n >= size {
		return err
	}
	return h.change(write{at: size})
}

func (h *file) change(w write) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := h.fs.begin(); err != nil {
		return err
	}
	h.node.visible = w.apply(h.node.visible)
	h.node.writes = append(h.node.writes, w)
	return h.fs.alive()
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return int64(len(h.node.visible)), h.fs.alive()
}

func (h *file) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if err := errors.Join(h.fs.begin(), h.fs.alive()); err != nil {
		return err
	}
	for _, w := range h.node.writes {
		h.node.durable = w.apply(h.node.durable)
	}
	h.node.writes = nil
	return nil
}

// Drop is what a failed sync does: some of what was written since the last one that
// succeeded is on disk, the rest is visible but never will be, whatever is synced later.
func (h *file) Drop(r *rand.Rand) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	for _, w := range h.node.writes {
		if r.IntN(4) == 0 {
			h.node.durable = w.torn(r, 0).apply(h.node.durable)
		}
	}
	h.node.writes = nil
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	return h.fs.alive()
}
