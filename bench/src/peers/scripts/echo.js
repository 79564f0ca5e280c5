// What the guest echo does: the body comes back as a stream.
export default {
  fetch(request) {
    return new Response(request.body);
  },
};
