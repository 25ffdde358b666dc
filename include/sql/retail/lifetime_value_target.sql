-- What every customer has spent in the new system, also those who have spent nothing.
-- Parameters: none. Result: customer (customer_id), lifetime_value in dollars.
SELECT c.customer_id AS customer, coalesce(s.lifetime_value, 0) AS lifetime_value
FROM commerce.customers c
LEFT JOIN (
    SELECT o.customer_id, sum(l.sales_value) AS lifetime_value
    FROM commerce.orders o JOIN commerce.order_lines l ON l.order_id = o.order_id
    GROUP BY o.customer_id
) s ON s.customer_id = c.customer_id
