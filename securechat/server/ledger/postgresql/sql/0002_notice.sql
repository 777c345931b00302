-- Notices to the other daemons. NOTIFY only makes them read this table, so that a lost connection loses none.
CREATE TABLE notice (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made timestamptz NOT NULL DEFAULT now(),
    daemon uuid NOT NULL, -- that has sent it
    action text NOT NULL,
    name text NOT NULL -- of a user, or empty
);
