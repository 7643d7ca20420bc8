-- +goose Up
ALTER TABLE users ADD COLUMN password_label TEXT NOT NULL DEFAULT ''; -- given by who wrote the password; empty: none
ALTER TABLE meta ADD COLUMN admin_label TEXT NOT NULL DEFAULT ''; -- of the admin's password that whoever deploys had set last
ALTER TABLE meta ADD COLUMN admin_hash TEXT NOT NULL DEFAULT ''; -- what users.password became by that

-- +goose Down
ALTER TABLE meta DROP COLUMN admin_hash;
ALTER TABLE meta DROP COLUMN admin_label;
ALTER TABLE users DROP COLUMN password_label;
