-- What a daemon tells the others. NOTIFY only makes them look here, so that none is lost with a connection.
CREATE TABLE notice (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    made timestamptz NOT NULL DEFAULT now(),
    daemon uuid NOT NULL, -- which has sent it
    action text NOT NULL,
    name text NOT NULL -- of a user, or empty
);
