from tests.admin.conftest import boss, member, sign_in, stranger, worlds  # noqa: F401 - the same two tenants
