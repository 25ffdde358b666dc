-- How many orders every customer has in the new system.
-- Parameters: none. Result: customer (customer_id), orders.
SELECT c.customer_id AS customer, count(o.order_id) AS orders
FROM commerce.customers c LEFT JOIN commerce.orders o ON o.customer_id = c.customer_id
GROUP BY c.customer_id
