-- The web shop's orders in the new system; made once, without a row.
-- Parameters: none. Result: none.
CREATE SCHEMA IF NOT EXISTS web;
CREATE TABLE IF NOT EXISTS web.orders (
    order_id        bigint PRIMARY KEY,
    number          text NOT NULL UNIQUE,
    customer_number integer NOT NULL,
    status          text NOT NULL,
    total           numeric(12, 2) NOT NULL,
    currency        char(3) NOT NULL,
    ordered_at      timestamptz NOT NULL,
    changed_at      timestamptz NOT NULL,
    withdrawn_at    timestamptz
);
CREATE TABLE IF NOT EXISTS web.order_lines (
    order_id bigint NOT NULL REFERENCES web.orders,
    line_no  integer NOT NULL,
    sku      text NOT NULL,
    quantity integer NOT NULL,
    amount   numeric(12, 2) NOT NULL,
    PRIMARY KEY (order_id, line_no)
);
