// What the guest json does.
export default {
  async fetch(request) {
    const orders = await request.json();
    for (const order of orders.orders) {
      order.customer = order.customer.toUpperCase();
      order.total_cents = order.items.reduce((sum, item) => sum + item.quantity * item.cents, 0);
    }
    return new Response(JSON.stringify(orders), { headers: { "content-type": "application/json" } });
  },
};
