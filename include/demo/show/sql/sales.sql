-- Sales that arrived in the new database, in cents. Result: one number.
SELECT coalesce(sum(round(sales_value * 100)), 0)::bigint FROM commerce.order_lines
