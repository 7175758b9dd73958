"""Keys of each kind, alone and together, and what the decryptor does when one of them does not help."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import msgspec
import pysequoia
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.adapters.decryptor import Decryptor, Identity, Keys, ambient
from agent.errors import BuildError
from testbed.keyservices import AWS_KEY, AZURE_TENANT, GCP_KEY, VAULT_TOKEN, KeyServices
from testbed.sops import AgeKey, PGPKey, Sops
from tests.decryptor.identities import Account, Nobody

TEXT = "user=ada\n"
ORIGIN = "Secret 'apps/keys'"


def given(**entries: str) -> Keys:
    """Entries by name, with `__` for the dot and `_` for the dash."""
    return Keys({name.replace("__", ".").replace("_", "-"): value.encode() for name, value in entries.items()}, ORIGIN)


def opened(decryptor: Decryptor, keys: Keys, text: str, identity: Identity | None = None) -> str:
    session = decryptor.session(keys, identity or Nobody())
    try:
        return session.decrypt(text.encode(), "dotenv", "dotenv").decode()
    finally:
        session.close()


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[KeyServices]:
    async with KeyServices(tmp_path) as running:
        yield running


@pytest.fixture
def online(programs: Mapping[str, Path], services: KeyServices) -> Decryptor:
    """A decryptor that takes the loopback services for the real ones."""
    return Decryptor(binary=programs["decryptor"], environment=ambient(services.environment()))


class TestAge:
    async def test_one_file_may_hold_several_identities(
        self, decryptor: Decryptor, sops: Sops, key: AgeKey, other: AgeKey
    ) -> None:
        text = await sops.encrypt(TEXT, "a.env", age=[key])
        assert opened(decryptor, given(all__agekey=f"# two\n{other.identity}\n{key.identity}"), text) == TEXT

    async def test_post_quantum_identities(self, decryptor: Decryptor, sops: Sops, key: AgeKey) -> None:
        quantum = await sops.age_key(post_quantum=True)
        assert quantum.recipient.startswith("age1pq1")
        text = await sops.encrypt(TEXT, "a.env", age=[quantum])
        assert opened(decryptor, given(pq__agekey=quantum.identity), text) == TEXT
        with pytest.raises(BuildError, match=r"it was encrypted for age1pq1\w+….{8}; the keys are age1"):
            opened(decryptor, given(a__agekey=key.identity), text)

    async def test_any_of_several_recipients_will_do(
        self, decryptor: Decryptor, sops: Sops, key: AgeKey, other: AgeKey
    ) -> None:
        text = await sops.encrypt(TEXT, "a.env", age=[other, key])
        assert opened(decryptor, given(a__agekey=key.identity), text) == TEXT

    async def test_key_groups_need_one_key_each(
        self, decryptor: Decryptor, sops: Sops, key: AgeKey, other: AgeKey, tmp_path: Path
    ) -> None:
        groups = f"[{{age: [{key.recipient}]}}, {{age: [{other.recipient}]}}]"
        config = tmp_path / "sops.yaml"
        config.write_text(f"creation_rules: [{{shamir_threshold: 2, key_groups: {groups}}}]\n")
        text = await sops.encrypt(TEXT, "a.env", config=config)
        assert opened(decryptor, given(a__agekey=key.identity, b__agekey=other.identity), text) == TEXT
        with pytest.raises(BuildError, match=rf"2 key groups are needed: no key for {other.recipient}"):
            opened(decryptor, given(a__agekey=key.identity), text)


class TestPGP:
    async def test_a_private_key_opens(self, decryptor: Decryptor, sops: Sops) -> None:
        pgp = PGPKey.generate()
        text = await sops.encrypt(TEXT, "a.env", pgp=pgp)
        assert opened(decryptor, given(key__asc=pgp.private), text) == TEXT

    async def test_another_key_is_named_by_its_fingerprint(self, decryptor: Decryptor, sops: Sops) -> None:
        pgp, wrong = PGPKey.generate(), PGPKey.generate()
        text = await sops.encrypt(TEXT, "a.env", pgp=pgp)
        with pytest.raises(BuildError) as caught:
            opened(decryptor, given(key__asc=wrong.private), text)
        assert caught.value.message == (
            f"{ORIGIN}: none of the keys fits: it was encrypted for PGP {pgp.fingerprint}; "
            f"the keys are PGP {wrong.fingerprint} (key.asc)"
        )

    async def test_both_kinds_of_keys_in_one_secret(self, decryptor: Decryptor, sops: Sops, key: AgeKey) -> None:
        pgp = PGPKey.generate()
        keys = given(a__agekey=key.identity, key__asc=pgp.private)
        for text in (await sops.encrypt(TEXT, "a.env", pgp=pgp), await sops.encrypt(TEXT, "a.env", age=[key])):
            assert opened(decryptor, keys, text) == TEXT

    async def test_a_public_key_opens_nothing(self, decryptor: Decryptor, sops: Sops) -> None:
        pgp = PGPKey.generate()
        text = await sops.encrypt(TEXT, "a.env", pgp=pgp)
        public = pysequoia.armor(pgp.ring, pysequoia.ArmorKind.PublicKey)
        with pytest.raises(BuildError, match=rf"the PGP key {pgp.fingerprint} in it is a public key; export"):
            opened(decryptor, given(key__asc=public), text)

    @pytest.mark.parametrize("content", ["no key", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nAAAA\n"])
    async def test_what_is_no_key_is_refused(self, decryptor: Decryptor, sops: Sops, key: AgeKey, content: str) -> None:
        text = await sops.encrypt(TEXT, "a.env", age=[key])
        with pytest.raises(
            BuildError, match=r"the entry 'key\.asc' is unusable: it has to hold an armored PGP private"
        ):
            opened(decryptor, given(key__asc=content), text)


class TestVault:
    async def test_a_token_opens_and_a_wrong_one_is_not_shown(
        self, online: Decryptor, services: KeyServices, sops: Sops
    ) -> None:
        transit = ["--hc-vault-transit", f"{services.url}/v1/transit/keys/sops"]
        text = await sops.encrypt(TEXT, "a.env", *transit, environment={"VAULT_TOKEN": VAULT_TOKEN})
        opening = given(sops__vault_token=f" {VAULT_TOKEN}\n")
        assert await asyncio.to_thread(opened, online, opening, text) == TEXT
        with pytest.raises(BuildError, match=r"Vault http://127\.0\.0\.1:\d+/transit/sops \(.*denied") as caught:
            await asyncio.to_thread(opened, online, given(sops__vault_token="hvs.wrong"), text)
        assert "hvs.wrong" not in caught.value.message

    async def test_the_agents_own_token_is_for_nobody_else(
        self, programs: Mapping[str, Path], services: KeyServices, sops: Sops
    ) -> None:
        transit = ["--hc-vault-transit", f"{services.url}/v1/transit/keys/sops"]
        text = await sops.encrypt(TEXT, "a.env", *transit, environment={"VAULT_TOKEN": VAULT_TOKEN})
        surroundings = services.environment() | {"VAULT_TOKEN": VAULT_TOKEN, "VAULT_ADDR": services.url}
        decryptor = Decryptor(binary=programs["decryptor"], environment=ambient(surroundings))
        with pytest.raises(BuildError, match=r"it was encrypted for Vault .*no server is trusted"):
            await asyncio.to_thread(opened, decryptor, given(), text)


class TestAWS:
    async def test_static_keys(self, online: Decryptor, services: KeyServices, sops: Sops) -> None:
        secret = {"AWS_ACCESS_KEY_ID": "AKIAENCRYPT", "AWS_SECRET_ACCESS_KEY": "s"}
        text = await sops.encrypt(TEXT, "a.env", "--kms", AWS_KEY, environment=services.environment() | secret)
        keys = given(sops__aws_kms="aws_access_key_id: AKIADECRYPT\naws_secret_access_key: s\n")
        assert await asyncio.to_thread(opened, online, keys, text) == TEXT
        assert services.logins == ["aws: AKIAENCRYPT", "aws: AKIADECRYPT"]

    async def test_without_them_the_agents_own_identity_counts(
        self, programs: Mapping[str, Path], services: KeyServices, sops: Sops
    ) -> None:
        surroundings = services.environment() | {"AWS_ACCESS_KEY_ID": "AKIAAGENT", "AWS_SECRET_ACCESS_KEY": "s"}
        text = await sops.encrypt(TEXT, "a.env", "--kms", AWS_KEY, environment=surroundings)
        decryptor = Decryptor(binary=programs["decryptor"], environment=ambient(surroundings))
        assert await asyncio.to_thread(opened, decryptor, given(), text) == TEXT
        assert services.logins[-1] == "aws: AKIAAGENT"

    async def test_an_entry_without_keys_is_refused(self, online: Decryptor, sops: Sops, key: AgeKey) -> None:
        text = await sops.encrypt(TEXT, "a.env", age=[key])
        with pytest.raises(BuildError, match=r"'sops\.aws-kms' is unusable: it has to be YAML with aws_access_key_id"):
            opened(online, given(sops__aws_kms="aws_access_key_id: AKIA\n"), text)


class TestGoogle:
    async def test_the_key_of_a_service_account(self, online: Decryptor, services: KeyServices, sops: Sops) -> None:
        surroundings = services.environment() | {"GOOGLE_OAUTH_ACCESS_TOKEN": "of-a-person"}
        text = await sops.encrypt(TEXT, "a.env", "--gcp-kms", GCP_KEY, environment=surroundings)
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "client_email": "sops@p.iam.gserviceaccount.com",
            "private_key": private.decode(),
            "token_uri": f"{services.url}/google/token",
        }
        keys = given(sops__gcp_kms=msgspec.json.encode(account).decode())
        assert await asyncio.to_thread(opened, online, keys, text) == TEXT
        assert services.logins[1:] == ["google token: sops@p.iam.gserviceaccount.com", "google: Bearer of-google"]

    async def test_without_it_the_identity_of_the_machine_counts(
        self, online: Decryptor, services: KeyServices, sops: Sops
    ) -> None:
        surroundings = services.environment() | {"GOOGLE_OAUTH_ACCESS_TOKEN": "of-a-person"}
        text = await sops.encrypt(TEXT, "a.env", "--gcp-kms", GCP_KEY, environment=surroundings)
        assert await asyncio.to_thread(opened, online, given(), text) == TEXT
        assert services.logins == ["google: Bearer of-a-person", "google: Bearer of-machine"]

    async def test_credentials_that_name_files_are_refused(
        self, online: Decryptor, services: KeyServices, sops: Sops, key: AgeKey
    ) -> None:
        text = await sops.encrypt(TEXT, "a.env", age=[key])
        federated = {
            "type": "external_account",
            "audience": "//iam.googleapis.com/x",
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": f"{services.url}/google/token",
            "credential_source": {"file": "/etc/hostname"},
        }
        with pytest.raises(BuildError, match="it has to be the JSON of a service account's key"):
            opened(online, given(sops__gcp_kms=msgspec.json.encode(federated).decode()), text)
        assert services.logins == []


class TestAzure:
    async def test_the_agents_own_identity_and_service_principals(
        self, online: Decryptor, services: KeyServices, sops: Sops
    ) -> None:
        vault = f"{services.secure_url}/keys/k/1"
        text = await sops.encrypt(TEXT, "a.env", "--azure-kv", vault, environment=services.environment())
        assert await asyncio.to_thread(opened, online, given(), text) == TEXT
        assert services.logins[-1] == "azure: Bearer of-machine"
        for spelling in ("tenantId: {}\nclientId: app\nclientSecret: s\n", "tenant: {}\nappId: app\npassword: s\n"):
            account = spelling.format(AZURE_TENANT) + f"authorityHost: {services.secure_url}\n"
            assert await asyncio.to_thread(opened, online, given(sops__azure_kv=account), text) == TEXT
            assert services.logins[-2:] == [f"entra {AZURE_TENANT}: app s", "azure: Bearer of-entra"]

    async def test_an_entry_that_is_no_account_is_refused(self, online: Decryptor, sops: Sops, key: AgeKey) -> None:
        text = await sops.encrypt(TEXT, "a.env", age=[key])
        with pytest.raises(BuildError, match=r"'sops\.azure-kv' is unusable: it needs tenantId, clientId and"):
            opened(online, given(sops__azure_kv="tenantId: t\n"), text)


class TestServiceAccounts:
    """Where no entry of the Secret says otherwise, a ServiceAccount's identity counts, if one is given."""

    async def test_vault_is_logged_in_to_with_a_token_for_it_alone(
        self, online: Decryptor, services: KeyServices, sops: Sops
    ) -> None:
        transit = ["--hc-vault-transit", f"{services.url}/v1/transit/keys/sops"]
        text = await sops.encrypt(TEXT, "a.env", *transit, environment={"VAULT_TOKEN": VAULT_TOKEN})
        account = Account("apps/opener", servers={services.url: "auth/cluster/login"})
        with pytest.raises(BuildError, match=r"logging in at auth/cluster/login as role apps_opener: .*invalid role"):
            await asyncio.to_thread(opened, online, given(), text, account)
        services.subjects.add(account.subject)
        assert await asyncio.to_thread(opened, online, given(), text, account) == TEXT
        assert services.logins[-1] == f"vault cluster: apps_opener {account.subject} {services.url}"

    async def test_a_role_of_aws(self, online: Decryptor, services: KeyServices, sops: Sops) -> None:
        person = {"AWS_ACCESS_KEY_ID": "AKIAPERSON", "AWS_SECRET_ACCESS_KEY": "s"}
        text = await sops.encrypt(TEXT, "a.env", "--kms", AWS_KEY, environment=services.environment() | person)
        role = "arn:aws:iam::111122223333:role/opener"
        account = Account("apps/opener", {"eks.amazonaws.com/role-arn": role})
        assert await asyncio.to_thread(opened, online, given(), text, account) == TEXT
        assert services.logins[1:] == [
            f"sts: {role} opener.apps.eu-central-1.fluxcd.io {account.subject} sts.amazonaws.com",
            "aws: ASIAWEB",
        ]
        again = await sops.encrypt(TEXT, "a.env", "--kms", AWS_KEY, environment=services.environment() | person)
        services.logins.clear()
        session = online.session(given(), account)
        for one in (text, again, text):
            plain = await asyncio.to_thread(session.decrypt, one.encode(), "dotenv", "dotenv")
            assert plain.decode() == TEXT
        session.close()
        assert [login.partition(":")[0] for login in services.logins] == ["sts", "aws", "aws"]
        with pytest.raises(BuildError, match=r"invalid eks\.amazonaws\.com/role-arn annotation of .*'apps/x'"):
            await asyncio.to_thread(opened, online, given(), text, Account("apps/x"))

    async def test_an_application_of_azure(self, online: Decryptor, services: KeyServices, sops: Sops) -> None:
        vault = f"{services.secure_url}/keys/k/1"
        text = await sops.encrypt(TEXT, "a.env", "--azure-kv", vault, environment=services.environment())
        notes = {"azure.workload.identity/tenant-id": AZURE_TENANT, "azure.workload.identity/client-id": "app"}
        account = Account("apps/opener", notes)
        assert await asyncio.to_thread(opened, online, given(), text, account) == TEXT
        assert services.logins[-2:] == [f"entra {AZURE_TENANT}: app {account.subject}", "azure: Bearer of-entra"]

    async def test_a_service_account_of_google(self, online: Decryptor, services: KeyServices, sops: Sops) -> None:
        surroundings = services.environment() | {"GOOGLE_OAUTH_ACCESS_TOKEN": "of-a-person"}
        text = await sops.encrypt(TEXT, "a.env", "--gcp-kms", GCP_KEY, environment=surroundings)
        provider = "projects/1/locations/global/workloadIdentityPools/pool/providers/cluster"
        email = "opener@p.iam.gserviceaccount.com"
        notes = {"gcp.auth.fluxcd.io/workload-identity-provider": provider, "iam.gke.io/gcp-service-account": email}
        account = Account("apps/opener", notes)
        assert await asyncio.to_thread(opened, online, given(), text, account) == TEXT
        audience = f"//iam.googleapis.com/{provider}"
        assert services.logins[1:] == [
            f"google sts: {audience} {account.subject} {audience}",
            f"google account: {email} Bearer of-sts",
            "google: Bearer of-account",
        ]

    async def test_a_service_account_of_google_in_a_cluster_of_google(
        self, online: Decryptor, services: KeyServices, sops: Sops
    ) -> None:
        surroundings = services.environment() | {"GOOGLE_OAUTH_ACCESS_TOKEN": "of-a-person"}
        text = await sops.encrypt(TEXT, "a.env", "--gcp-kms", GCP_KEY, environment=surroundings)
        account = Account("apps/opener")
        assert await asyncio.to_thread(opened, online, given(), text, account) == TEXT
        cluster = "https://container.googleapis.com/v1/projects/p/locations/eu/clusters/c"
        exchanged = f"google sts: identitynamespace:p.svc.id.goog:{cluster} {account.subject} p.svc.id.goog"
        assert services.logins[1:] == [exchanged, "google: Bearer of-sts"]
