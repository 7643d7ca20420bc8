package journal

import "io"

// FS is what the journal needs of a file system. A test puts one in its place that forgets
// what was not synced. Names are paths, joined with filepath.Join.
type FS interface {
	// MkdirAll makes a directory and those above it; one that exists is no error.
	MkdirAll(dir string) error
	// List returns the names, without the directory, of the files in dir.
	List(dir string) ([]string, error)
	// Create makes a file for reading and writing; one that exists is an error.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	// Rename moves a file within its directory, over one that has the new name. It lasts once the directory is synced.
	Rename(from, to string) error
	// Remove removes a file. It lasts once the directory is synced.
	Remove(name string) error
	// SyncDir makes what was created, renamed and removed in dir last.
	SyncDir(dir string) error
	// Free returns how many bytes can be written in dir until the disk is full.
	Free(dir string) (int64, error)
}

// File is an open file. ReadAt may run concurrently with everything but Close.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	// Allocate sees to it that writing the first size bytes cannot fail for want of room.
	Allocate(size int64) error
	// Truncate cuts the file off after size bytes.
	Truncate(size int64) error
	// Sync returns nil when all that was written is on disk. After an error it is not known what is,
	// and a later Sync that returns nil says nothing of what was written before.
	Sync() error
	Close() error
}
